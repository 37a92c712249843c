"""Hashes and lock files are read as DVC writes them."""

import itertools

from goldilocks.core import dvc_files, files


def test_a_folder_has_the_hash_that_dvc_gives_it(tmp_path):
    from dvc.repo import Repo

    for name in ("a/x", "a-b/x", "a b", "ä/x", "a.b"):  # by their parts a/x comes before a-b/x, as strings after it
        files.write_text(tmp_path / "made" / name, name)
    files.write_text(tmp_path / ".dvc" / "config", "[core]\nno_scm = true\n")
    with Repo(str(tmp_path)) as repo:
        (stage,) = repo.add(str(tmp_path / "made"))
    assert dvc_files.md5(tmp_path / "made") == stage.outs[0].hash_info.value


def test_a_lock_read_as_text_names_the_stages_and_hashes_that_it_has_as_yaml(committed, tmp_path):
    path = tmp_path / "dvc.lock"
    for lock in (dvc_files.LOCK, dvc_files.ABLATIONS_LOCK):
        names = list(itertools.islice(dvc_files.blocks((committed / lock).read_text("utf-8")), 0, None, 9))
        path.write_bytes((committed / lock).read_bytes())
        dvc_files.keep_only(path, names)  # of hundreds some: quicker to read
        found = dvc_files.DvcLock(path)
        assert list(found.stages) == names
        assert dvc_files.hashes(path.read_text("utf-8")) == {
            entry.md5 for kind in ("deps", "outs") for entry in found.entries(kind)
        }


def test_paths_overlap_if_one_lies_in_the_other():
    assert dvc_files.paths_overlap("data/a", "data/a/b")
    assert dvc_files.paths_overlap("data/a", "data")
    assert not dvc_files.paths_overlap("data/a", "data/ab")
