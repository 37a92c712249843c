"""Is `params.yaml` sound? Checked as a whole before anything else runs.

Every other stage depends on the constant this one writes, so a plain `dvc repro` stops here too, before anything is
computed or deleted. It also removes the results of seeds that are not in `run.seeds`, so that data/model5/ holds
exactly the seeds asked for.

It refuses package versions other than the pinned ones, under which DVC stores results, a device or precision that this
machine does not have, and damaged results of the ablations or the kept run. If this machine can't make the committed
bytes, it says why and continues.

Reads:  params.yaml, requirements.lock, reports/ablations/ and reports/paper/, and those of `inputs.checkpoints` that
        are on this machine, whose paths DVC does not know
Writes: data/checked (a constant), data/local.json (a hash of each of those, on which `inputs` depends)

example: python -m stages.check
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from goldilocks.config import (
    ablate,
    ablations,
    claims,
    dynamics,
    figures,
    formats,
    goldilocks,
    inputs,
    layernorm,
    matrices,
    report,
    run,
    second_text,
    softmax,
    sweep,
    tokens,
    train,
)
from goldilocks.core import arithmetic, checksums, cli, dvc_files, files, params
from goldilocks.model5 import finished

OUTPUT = files.DATA / "checked"
LOCAL = files.DATA / "local.json"
LOCK = Path("requirements.lock")
BUILT_ON = (files.ABLATIONS, files.KEPT)
"""Committed results of other runs that the claims and the report read."""


class Params(params.Section):
    """The whole of `params.yaml`."""

    run: run.Run
    inputs: inputs.Settings
    matrices: matrices.Settings
    sweep: sweep.Settings
    softmax: softmax.Settings
    goldilocks: goldilocks.Settings
    formats: formats.Settings
    layernorm: layernorm.Settings
    tokens: tokens.Settings
    train: train.Settings
    dynamics: dynamics.Settings
    second_text: second_text.Settings
    ablate: ablate.Settings
    ablations: ablations.Settings
    claims: claims.Settings
    figures: figures.Settings
    report: report.Settings


def unusable_inputs(settings: inputs.Settings) -> Iterator[str]:
    """A line for each problem of the paths and names in `inputs:`; no file is opened."""
    source = settings.source
    if source not in ("embedded", "hub"):
        from goldilocks.checkpoints.resolve import is_here
        from goldilocks.data_sources import directory

        where, here = Path(source), Path.cwd()
        if not is_here(source) or not where.is_dir():
            yield f"inputs.source = {source!r}: neither 'embedded' nor 'hub' nor an existing directory"
        elif here.is_relative_to(where.resolve()) or any(
            where.resolve().is_relative_to(here / made) for made in ("data", "reports")
        ):
            yield f"inputs.source = {source!r}: must not hold the project's folder nor lie in data/ or reports/"
        else:
            yield from (f"inputs.source = {source!r}: {problem}" for problem in directory.problems(where))
    if settings.checkpoints:
        from goldilocks.checkpoints.resolve import is_elsewhere, is_local
    for argument in settings.checkpoints:
        if not is_local(argument) and not is_elsewhere(argument):
            yield f"inputs.checkpoints: {argument!r}: no such file or folder, and no address or repository's name"


def validated(path: Path = params.PARAMS) -> Params:
    """The parameter file as typed settings.

    Raises:
        UserError: one line for each problem.
    """
    contents = params.read(path)
    lines = params.problems(Params, contents, file=path)
    if not params.problems(inputs.Settings, contents.get("inputs")):
        settings = inputs.Settings.model_validate(contents["inputs"])
        lines += [f"{path}: {problem}" for problem in unusable_inputs(settings)]
    if not lines:
        settled = Params.model_validate(contents)
        lines = [f"{path}: {problem}" for problem in train.native_only(settled.train, settled.run)]
    if lines:
        raise cli.UserError(*lines)
    return settled


def other_versions(lock: str) -> Iterator[str]:
    """A line for each package that a lock file pins and that is installed in another version."""
    for name, pinned in re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", lock, re.MULTILINE):
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(name).split("+")[0]
            if version != pinned:
                found = f"pins {name} {pinned}, installed is {version}"
                yield f"{LOCK}: {found}; run make repro, which installs what it pins"


def remove_other_seeds(seeds: list[int]) -> None:
    """Remove data and `dvc.lock` entries of seeds that are not in `run.seeds`.

    DVC's cache keeps the data, so a seed that comes back is not trained again.
    """
    finished.prune()  # while dvc.lock still lists them
    for path in sorted(files.MODEL5.glob("seed-*")):
        match = re.fullmatch(r"seed-(\d+)", path.stem)  # with or without a suffix
        if match and int(match[1]) not in seeds:
            files.remove(path)
            print(f"{path}: removed, its seed is not in run.seeds")
    if not dvc_files.LOCK.is_file():
        return
    instances = dvc_files.blocks(dvc_files.LOCK.read_text("utf-8"))
    trained = {f"train@{seed}" for seed in seeds}
    dvc_files.keep_only(
        dvc_files.LOCK, (name for name in instances if not name.startswith("train@") or name in trained)
    )


def write_if_changed(path: Path, text: str) -> None:
    """Write a file only if its content changes: DVC compares modification times."""
    if not path.is_file() or path.read_bytes() != text.encode():
        files.write_text(path, text)


def note_local(checkpoints: list[str]) -> None:
    """Write a hash of the norms of each checkpoint on this machine."""
    hashes = []
    if checkpoints:
        from goldilocks.checkpoints.client import Client
        from goldilocks.checkpoints.extract import extract
        from goldilocks.checkpoints.load import fingerprint
        from goldilocks.checkpoints.resolve import is_local, resolve

        local = [argument for argument in checkpoints if is_local(argument)]
        hashes = [fingerprint(extract(resolve(argument, Client()))) for argument in local]
    write_if_changed(LOCAL, json.dumps(hashes, indent=2) + "\n")


def check() -> Params:
    """Check everything, write the constant that stages depend on, and return the settings.

    Raises:
        UserError: one line for each problem.
    """
    settings = validated()
    differing = list(other_versions(LOCK.read_text("utf-8")))
    if differing:
        raise cli.UserError(*differing)
    damaged = [problem for folder in BUILT_ON if folder.is_dir() for problem in checksums.problems(folder)]
    if damaged:
        raise cli.UserError(*damaged)
    if settings.run.arithmetic == "portable":
        if reasons := arithmetic.unpromised():
            print(f"note: the committed bytes are not promised here: {'; '.join(reasons)}", file=sys.stderr)
    elif (settings.train.precision, settings.train.device) != ("fp32", "cpu"):
        from goldilocks.model5 import hardware  # imports torch, which takes a second

        hardware.check_precision(settings.train.precision, hardware.device(settings.train.device))
    note_local(settings.inputs.checkpoints)
    remove_other_seeds(settings.run.seeds)
    write_if_changed(OUTPUT, "params.yaml is sound\n")
    return settings


def main() -> None:
    cli.no_arguments(__doc__, "stages.check")
    check()


if __name__ == "__main__":
    cli.run(main)
