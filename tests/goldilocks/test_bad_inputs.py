"""Inputs that are missing, damaged, endless or hostile: refused in one line for each problem, and nothing is left."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inputs import TEXT, local_source, point_at

from goldilocks.core import bpe
from goldilocks.core import encoding as tokens
from goldilocks.core.cli import UserError
from goldilocks.data_sources import directory, embedded
from goldilocks.data_sources.layout import readable_text
from stages import check


@pytest.fixture(scope="module")
def good_source(tmp_path_factory):
    return local_source(tmp_path_factory.mktemp("good") / "source")


@pytest.fixture
def source(good_source, tmp_path):
    return shutil.copytree(good_source, tmp_path / "source")


def in_place_of(name, make):
    def change(source):
        (source / name).unlink()
        make(source / name)

    return change


SPOILT = {
    "a pipe for the text": (in_place_of("corpus.txt", os.mkfifo), ["corpus.txt: no such", "corpus.txt: neither"]),
    "a folder for the norms": (in_place_of("gpt2/model.safetensors", os.mkdir), ["model.safetensors: no such file"]),
    "a link to itself": (in_place_of("corpus.txt", lambda path: path.symlink_to(path.name)), ["corpus.txt: no such"]),
    "a device without end": (
        in_place_of("corpus.txt", lambda path: path.symlink_to("/dev/zero")),
        ["corpus.txt: no such file", "corpus.txt: neither a file nor a folder"],
    ),
    "a pipe beside them": (lambda source: os.mkfifo(source / "gpt2" / "config.json"), ["config.json: neither a file"]),
    "a Git LFS pointer for the text": (
        lambda source: (source / "corpus.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        ["corpus.txt: a Git LFS pointer in place of the file; fetch it with git lfs pull"],
    ),
    "nothing": (shutil.rmtree, ["nor an existing directory"]),
    "nothing in it": (
        lambda source: [shutil.rmtree(source), source.mkdir()],
        ["corpus.txt: no such", "vocab.json: no such", "merges.txt: no such", "model.safetensors: no such"],
    ),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT)
def test_a_folder_that_cant_be_read_is_refused_before_dvc_sees_it(bare, source, monkeypatch, spoil, said):
    point_at(bare, source)
    monkeypatch.chdir(bare.folder)
    assert check.validated().inputs.source == str(source)
    spoil(source)
    with pytest.raises(UserError) as raised:
        check.validated()
    assert len(raised.value.problems) == len(said)
    for line, words in zip(raised.value.problems, said, strict=True):
        assert line.startswith(f"params.yaml: inputs.source = {str(source)!r}: ")
        assert words in line


def test_links_out_of_a_folder_and_in_circles_are_read_like_any_file(source, tmp_path):
    (source / "corpus.txt").rename(tmp_path / "elsewhere.txt")
    (source / "corpus.txt").symlink_to(tmp_path / "elsewhere.txt")
    (source / "circle").symlink_to(source)
    (source / "broken").symlink_to("nothing")
    assert list(directory.problems(source)) == []
    (tmp_path / "filled").mkdir()
    assert len(directory.fetch(tmp_path / "filled", source)) == 4
    assert (tmp_path / "filled" / "corpus.txt").read_text() == TEXT


def vocabulary(change):
    return lambda vocab, merges: (json.dumps(change(json.loads(vocab))).encode(), merges)


NO_TOKENIZER = "gpt2: not a byte-level BPE tokenizer"
TOKENIZERS = {
    "empty": (lambda _vocab, _merges: (b"", b""), NO_TOKENIZER),
    "no mapping": (vocabulary(list), "not a mapping from"),
    "nested": (lambda _, merges: (b'{"a":' * 100_000, merges), NO_TOKENIZER),
    "not UTF-8": (lambda vocab, merges: (vocab, merges + b"\xff \xfe\n"), NO_TOKENIZER),
    "half a character": (vocabulary(lambda ids: ids | {"\ud800": len(ids)}), NO_TOKENIZER),
    "ids with gaps": (vocabulary(lambda _: {"a": 7}), "the ids are not 0"),
    "ids twice": (vocabulary(lambda ids: ids | {"twice": 0}), "the ids are not 0"),
    "ids that are no numbers": (vocabulary(lambda _: {"a": True}), "not a mapping from"),
    "a fraction": (vocabulary(lambda ids: ids | {"x": float(len(ids))}), "not a mapping from"),
    "a byte without token": (vocabulary(lambda _: {"a": 0}), "255 of the 256 bytes"),
    "digits without end": (lambda vocab, merges: (vocab.replace(b"0", b"9" * 5000, 1), merges), NO_TOKENIZER),
    "three parts": (lambda vocab, merges: (vocab, merges + b"a b c\n"), NO_TOKENIZER),
    "a merge that does not fit": (lambda vocab, _: (vocab, b"a qq\n"), "line 1 of merges.txt"),
    "too large": (lambda vocab, _: (vocab, b"#" * (bpe.LARGEST + 1)), "merges.txt: more than"),
}


@pytest.mark.parametrize(("spoil", "said"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_that_is_none_is_refused_in_one_line(source, spoil, said):
    folder = source / "gpt2"
    vocab, merges = spoil(*((folder / name).read_bytes() for name in ("vocab.json", "merges.txt")))
    (folder / "vocab.json").write_bytes(vocab)
    (folder / "merges.txt").write_bytes(merges)
    with pytest.raises(UserError) as raised:
        bpe.load(folder)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n\n"])
def test_merges_with_other_line_ends_are_the_same_merges(source, tokenizer, end):
    path = source / "gpt2" / "merges.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", end))
    found = bpe.load(source / "gpt2").encode(TEXT).ids
    assert found == tokenizer.encode(TEXT).ids
    assert len(found) < len(TEXT) / 2, "it merges"


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"\xef\xbb\xbf \t\r\n", "the text is empty"),
        (b"a\xc0\x80", "not UTF-8 text (byte 1)"),
        (b"a" * 10_000 + b"\x80", "byte 10000"),
    ],
)
def test_a_text_that_is_none_is_refused(contents, said):
    with pytest.raises(UserError) as raised:
        readable_text(contents, "corpus.txt")
    assert said in str(raised.value)


def test_any_other_text_is_taken_as_it_is():
    contents = b"\0" * 1000 + "\U0001f600".encode() + b"\x1b[31m"
    assert readable_text(contents, "corpus.txt").encode() == contents


@pytest.fixture(scope="module")
def tokenizer(good_source):
    return bpe.load(good_source / "gpt2")


PARTS = [" ", "\n", "\x1c", "\x85", "\u3000", "\0", "a", "It was", "'s", "7", "é", "数", "!"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=60).map("".join), st.integers(1, 9))
def test_a_text_has_the_same_tokens_in_pieces(tokenizer, text, size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokens, "PIECE", size)
        assert "".join(tokens.pieces(text)) == text
        found = tokens.encoded(text, tokenizer)
    assert found.tolist() == tokenizer.encode(text).ids
    assert found.dtype == np.uint16


def test_a_text_is_cut_into_pieces_and_one_that_cant_be_is_refused_before_the_memory_is(tokenizer, monkeypatch):
    monkeypatch.setattr(tokens, "PIECE", 2**12)
    text = embedded.prose("numpy", ["linalg"])
    assert "".join(tokens.pieces(text)) == text
    assert max(map(len, tokens.pieces(text))) < 2**12 + 200
    monkeypatch.setattr(tokens, "PIECE", 10)
    monkeypatch.setattr(tokens, "LONGEST", 1000)
    for text in ("\0" * 1001, "a" * 1001, "a b" + " " * 1001):
        with pytest.raises(UserError, match="1,000 characters without the end of a word"):
            tokens.encoded(text, tokenizer)
    assert len(tokens.encoded("\0" * 1000, tokenizer)) == 1000
