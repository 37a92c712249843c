import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from goldilocks.core import schemas, tables
from goldilocks.core.cli import UserError

LOSSES = {"step": [0, 1], "split": ["train", "test"], "loss": [1.5, 2.5]}


def test_a_table_comes_back_with_units_meanings_and_parameters(tmp_path):
    tables.write(tmp_path / "t.parquet", "losses", LOSSES, {"seed": 3})
    frame = tables.read(tmp_path / "t.parquet", "losses")
    assert frame["loss"].tolist() == [1.5, 2.5]
    assert frame["split"].tolist() == ["train", "test"]
    assert tables.parameters(tmp_path / "t.parquet") == {"seed": 3}
    found = pq.read_schema(tmp_path / "t.parquet")
    assert found.field("loss").metadata == {b"unit": b"nats/token", b"meaning": b"mean cross-entropy"}
    assert all(found.field(name).metadata[b"meaning"] for name in found.names)
    column = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert "RLE_DICTIONARY" in column.encodings


def test_the_same_content_has_the_same_bytes(tmp_path):
    for name in "ab":
        tables.write(tmp_path / name, "losses", LOSSES, {"x": 1, "y": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "columns",
    [
        {"step": [0], "split": ["train"]},
        LOSSES | {"more": [0, 1]},
        LOSSES | {"loss": [1.0, None]},
        LOSSES | {"loss": [1.0]},
        LOSSES | {"step": [0, 2**40]},
        LOSSES | {"loss": ["a", "b"]},
    ],
)
def test_what_is_not_as_declared_is_not_written(tmp_path, columns):
    with pytest.raises((ValueError, pa.ArrowException)):
        tables.write(tmp_path / "t", "losses", columns, {})
    assert list(tmp_path.iterdir()) == []


def test_another_table_a_missing_and_a_damaged_one_are_told(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(UserError, match=r"t\.parquet"):
        tables.read(path, "losses")
    tables.write(path, "losses", LOSSES, {})
    with pytest.raises(UserError, match="not the table 'sweep'"):
        tables.read(path, "sweep")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="can't be read"):
        tables.read(path, "losses")


def test_every_column_says_what_it_is():
    for name, (meaning, columns) in schemas.TABLES.items():
        assert meaning.endswith("."), name
        assert all(column.unit and column.meaning for column in columns), name
