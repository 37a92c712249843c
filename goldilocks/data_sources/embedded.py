"""The embedded source: prose that is already installed.

The text is the docstrings in the `.py` sources of the installed, pinned NumPy. The sources are parsed, not
imported, since some docstrings name the platform once they are read at run time. The tokenizer is a byte-level BPE
trained on that text.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from goldilocks.core import bpe, files
from goldilocks.core.cli import UserError
from goldilocks.data_sources.layout import CORPUS, TOKENIZER, TOKENIZER_FILES, Origin, describe


def docstrings(source: str) -> Iterator[str]:
    """Every docstring of a Python source, cleaned of its indentation, in the order of the definitions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text and text.strip():
                yield inspect.cleandoc(text)


def prose(package: str, subpackages: list[str], asked_by: str = "inputs.subpackages") -> str:
    """The docstrings of a package's subpackages, tests left out, each once, separated by blank lines.

    Raises:
        UserError: if the package or a subpackage does not exist.
    """
    spec = importlib.util.find_spec(package)  # imports nothing
    if spec is None or spec.origin is None:
        raise UserError(f"{package}: no such package is installed, so its docstrings can't be the text")
    seen: dict[str, None] = {}
    for subpackage in subpackages:
        folder = Path(spec.origin).parent / subpackage
        if not folder.is_dir():
            raise UserError(f"{asked_by}: the installed {package} has no subpackage {subpackage!r}")
        for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).parts):
            if "tests" not in path.relative_to(folder).parts:
                seen.update(dict.fromkeys(docstrings(path.read_text("utf-8"))))
    if not seen:
        raise UserError(f"{asked_by}: no docstrings in {', '.join(subpackages)}")
    return "\n\n\n".join(seen) + "\n"


def train_tokenizer(text: str, vocabulary: int) -> Tokenizer:
    """A byte-level BPE of `vocabulary` tokens trained on `text`.

    Raises:
        UserError: if the text is too short to yield that many.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[bpe.END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise UserError(
            f"inputs.vocabulary = {vocabulary}: the embedded text yields only {tokenizer.get_vocab_size()} tokens; "
            "lower it or add to inputs.subpackages"
        )
    return tokenizer


def fetch(folder: Path, subpackages: list[str], vocabulary: int) -> list[Origin]:
    """Write the embedded text and its tokenizer to `folder`; returns their provenance."""
    version = importlib.metadata.version("numpy")
    corpus, tokenizer = folder / CORPUS, folder / TOKENIZER
    text = prose("numpy", subpackages)
    files.write_text(corpus, text)
    tokenizer.mkdir()
    train_tokenizer(text, vocabulary).model.save(str(tokenizer))
    made = "byte-level BPE trained on that text"
    return [
        describe(corpus, CORPUS, f"docstrings of NumPy: {', '.join(subpackages)}", version),
        *(describe(tokenizer / name, name, made, version) for name in TOKENIZER_FILES),
    ]
