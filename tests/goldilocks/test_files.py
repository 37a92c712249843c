import errno

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldilocks.core import arrays, files
from goldilocks.core.cli import UserError


def test_a_file_appears_only_when_it_is_complete_and_an_error_has_its_name(tmp_path):
    path = tmp_path / "deep" / "file"
    with pytest.raises(OSError, match="No space left") as raised, files.atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == []
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_folder_appears_only_when_it_is_complete_and_holds_nothing_old(tmp_path):
    path = tmp_path / "folder"
    with files.atomic_directory(path) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(RuntimeError), files.atomic_directory(path) as folder:
        (folder / "b").write_text("2")
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["a"]
    with files.atomic_directory(path) as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in path.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_metrics_have_six_significant_digits(x):
    rounded = files.significant(x)
    assert float(f"{rounded:.5e}") == rounded
    assert rounded == pytest.approx(x, rel=5.1e-6)


def test_rounding_keeps_structure_and_types_and_refuses_what_is_not_finite():
    value = {"n": np.int64(3), "ok": np.bool_(True), "x": (1.23456789, "text"), "none": None}
    assert files.rounded(value) == {"n": 3, "ok": True, "x": [1.23457, "text"], "none": None}
    for value in (float("nan"), -np.inf, np.float32("nan")):
        with pytest.raises(ValueError, match="finite"):
            files.rounded({"a": [value]})


def test_json_and_tensors_have_the_same_bytes_for_the_same_content_and_come_back(tmp_path):
    some = {"b": np.arange(6.0).reshape(2, 3).T, "a": np.arange(3, dtype=np.uint16)}
    for name, tensors, numbers in (("1", some, {"b": 1, "a": [2.5]}),
                                   ("2", dict(reversed(some.items())), {"a": [2.5], "b": 1})):  # fmt: skip
        arrays.write(tmp_path / name, tensors)
        files.write_json(tmp_path / f"{name}.json", numbers)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    for name, array in arrays.read(tmp_path / "1").items():
        np.testing.assert_array_equal(array, some[name])
        assert array.dtype == some[name].dtype


def test_missing_and_damaged_tensors_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        arrays.read(tmp_path / "none")
    path = tmp_path / "damaged"
    arrays.write(path, {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged: not a sound safetensors file"):
        arrays.read(path)
