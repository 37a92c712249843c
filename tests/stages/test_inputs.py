import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from goldilocks.core import arrays, bpe
from goldilocks.core.cli import UserError
from goldilocks.data_sources import embedded

TEXT = "It was a dark night. The numbers grew, and grew, and softmax could no longer learn.\n" * 200


def gpt2_tensors(blocks=2, width=8, seed=0):
    rng = np.random.default_rng(seed)
    tensors = {"wte.weight": rng.normal(size=(20, width))}
    for i in range(blocks):
        tensors[f"h.{i}.attn.c_attn.weight"] = rng.normal(size=(width, 3 * width))
        for norm in ("ln_1", "ln_2"):
            tensors[f"h.{i}.{norm}.weight"] = rng.normal(0.3, 0.1, width)
            tensors[f"h.{i}.{norm}.bias"] = rng.normal(0, 0.01, width)
    tensors |= {"ln_f.weight": rng.normal(1.5, 0.1, width), "ln_f.bias": rng.normal(0, 0.1, width)}
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def local_source(folder, text=TEXT):
    """A directory as `inputs.source` wants it."""
    (folder / "gpt2").mkdir(parents=True)
    (folder / "corpus.txt").write_bytes(text.encode())
    embedded.train_tokenizer(text, 300).model.save(str(folder / "gpt2"))
    save_file(gpt2_tensors(), str(folder / "gpt2" / "model.safetensors"))
    return folder


def damage(path):
    path.write_bytes(path.read_bytes()[:-16])


def assert_norms_of_gpt2(inputs):
    """Its norms are in an inputs folder, and nothing else of it."""
    kept = arrays.read(inputs / "checkpoints" / "gpt2" / "model.safetensors")
    expected = {name: array for name, array in gpt2_tensors().items() if "ln_" in name}
    np.testing.assert_equal(kept, expected)


def point_at(project, source):
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("source: embedded", f"source: {source}"))


def test_docstrings_are_read_from_the_source_without_running_it_and_each_stands_once():
    source = (
        '"""Module."""\nraise SystemExit\nclass A:\n    """A.\n\n    more\n        most\n    """\n'
        '    def f(self):\n        "f"\n    x = 1\n'
    )
    assert list(embedded.docstrings(source)) == ["Module.", "A.\n\nmore\n    most", "f"]
    text = embedded.prose("numpy", ["linalg"])
    assert "Compute the determinant of an array." in text
    parts = text.split("\n\n\n")
    assert len(text) > 50_000
    assert embedded.prose("numpy", ["linalg", "linalg"]) == text
    assert max(parts.count(part) for part in parts if len(part) > 200) == 1


def test_an_unknown_package_or_subpackage_and_too_large_a_vocabulary_are_told():
    with pytest.raises(UserError, match="no_such: no such package is installed"):
        embedded.prose("no_such", ["x"])
    with pytest.raises(UserError, match="no subpackage 'nonsense'"):
        embedded.prose("numpy", ["nonsense"])
    with pytest.raises(UserError, match="yields only"):
        embedded.train_tokenizer("abc abc", 5000)


def test_the_tokenizer_loses_nothing_and_repeats(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        embedded.train_tokenizer(TEXT, 300).model.save(str(tmp_path / name))
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    tokenizer = bpe.load(tmp_path / "a")
    assert tokenizer.get_vocab_size() == 300
    for text in (TEXT, "naïve — 数 \U0001f600\n\t  x", " leading"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_directory_is_copied_and_its_path_is_no_provenance(bare, tmp_path):
    source = local_source(tmp_path / "my source")
    (source / "corpus.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    point_at(bare, source)
    assert bare.here("inputs").returncode == 0
    inputs = bare.folder / "data" / "inputs"
    assert (inputs / "corpus.txt").read_bytes() == TEXT.encode()
    assert (inputs / "tokenizer" / "merges.txt").read_bytes() == (source / "gpt2" / "merges.txt").read_bytes()
    assert_norms_of_gpt2(inputs)
    provenance = json.loads((inputs / "provenance.json").read_text())
    assert provenance["source"] == "directory"
    assert {entry["input"] for entry in provenance["inputs"]} == {
        "corpus.txt", "gpt2/vocab.json", "gpt2/merges.txt", "gpt2/model.safetensors"
    }  # fmt: skip
    assert all(len(entry["sha256"]) == 64 for entry in provenance["inputs"])
    assert str(tmp_path) not in (inputs / "provenance.json").read_text()
