"""Hashes and lock files are read as DVC writes them."""

import re

from goldilocks.core import dvc_files, files


def test_a_folder_has_the_hash_that_dvc_gives_it(bare):
    bare.check("git", "init", "-q")
    bare.check("dvc", "init", "-q")
    for name in ("a/x", "a-b/x", "a b", "ä/x", "a.b"):  # by their parts a/x comes before a-b/x, as strings after it
        files.write_text(bare.folder / "made" / name, name)
    bare.check("dvc", "add", "-q", "made")
    (recorded,) = re.findall(r"md5: (\w+\.dir)", bare.read("made.dvc"))
    assert dvc_files.md5(bare.folder / "made") == recorded


def test_a_lock_read_as_text_names_the_stages_and_hashes_that_it_has_as_yaml(committed):
    for path in (dvc_files.LOCK, dvc_files.ABLATIONS_LOCK):
        text, lock = (committed / path).read_text("utf-8"), dvc_files.DvcLock(committed / path)
        assert list(dvc_files.blocks(text)) == list(lock.stages)
        assert dvc_files.hashes(text) == {entry.md5 for kind in ("deps", "outs") for entry in lock.entries(kind)}


def test_paths_overlap_if_one_lies_in_the_other():
    assert dvc_files.paths_overlap("data/a", "data/a/b")
    assert dvc_files.paths_overlap("data/a", "data")
    assert not dvc_files.paths_overlap("data/a", "data/ab")
