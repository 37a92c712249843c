import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from goldilocks.core import schemas, tables
from goldilocks.core.cli import UserError

LOSSES = {"step": [0, 1], "split": ["train", "test"], "loss": [1.5, 2.5]}


def test_a_table_comes_back_with_units_meanings_and_parameters_and_has_the_same_bytes_each_time(tmp_path):
    path, again = tmp_path / "t.parquet", tmp_path / "again.parquet"
    for written in (path, again):
        tables.write(written, "losses", LOSSES, {"seed": 3, "x": 1})
    assert path.read_bytes() == again.read_bytes()
    assert tables.read(path, "losses").to_dict("list") == LOSSES
    assert tables.parameters(path) == {"seed": 3, "x": 1}
    assert pq.read_schema(path).field("loss").metadata == {b"unit": b"nats/token", b"meaning": b"mean cross-entropy"}
    for name, (meaning, columns) in schemas.TABLES.items():
        assert meaning.endswith("."), name
        assert all(column.unit and column.meaning for column in columns), name


WRONG = ({"more": [0, 1]}, {"loss": [1.0, None]}, {"loss": [1.0]}, {"step": [0, 2**40]}, {"loss": ["a", "b"]})


@pytest.mark.parametrize("columns", [{"step": [0], "split": ["train"]}, *(LOSSES | wrong for wrong in WRONG)])
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
