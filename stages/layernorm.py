"""What do trained LayerNorms do? Every γ and β of the checkpoints given. (claims S10-S12)

Source: experiment 4 of the article on numerical scaling: weight γ ("stretching") and bias β ("shifting") of every
LayerNorm. Reads safetensors files tensor by tensor and never loads a model. A path is a safetensors file (the model is
named after it) or a folder that holds `model.safetensors` (named after the folder); `NAME=PATH` names it.

Writes: data/layernorm.parquet and reports/metrics/layernorm.json, or with --out only the table, there.

example: python -m stages.layernorm gpt2=some/folder/model.safetensors --out norms.parquet
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from stages.common import cli, files, norms, params, tables

OUTPUT = files.DATA / "layernorm.parquet"


class Settings(params.Section):
    gamma_from: float
    """Lower end of the range that the articles name for γ."""

    gamma_to: float
    """Upper end of that range."""

    beta_near_zero: float = Field(gt=0)
    """|β| below this counts as concentrated around 0."""

    @field_validator("gamma_to")
    @classmethod
    def _forwards(cls, end: float, info: ValidationInfo) -> float:
        start = info.data.get("gamma_from", -np.inf)
        if end <= start:
            raise ValueError(f"must be greater than layernorm.gamma_from = {start}")
        return end


class Run(params.Section):
    """This stage sees nothing of `run:`."""


def checkpoints(arguments: list[str]) -> Iterator[tuple[str, Path]]:
    """The name and the safetensors file of each checkpoint named on the command line.

    A folder of safetensors files without a `model.safetensors` stands for all the files in it, so that a stage may
    hand over a folder of checkpoints, even an empty one.

    Raises:
        UserError: if a path does not exist.
    """
    for argument in arguments:
        name, location = "", argument
        if not Path(argument).exists() and "=" in argument:
            name, _, location = argument.partition("=")
        path = Path(location)
        if path.is_dir() and (path / "model.safetensors").is_file():
            yield name or path.resolve().name, path / "model.safetensors"
        elif path.is_dir():
            for file in sorted(path.glob("*.safetensors")):
                yield (f"{name}/{file.stem}" if name else file.stem), file
        elif path.is_file():
            yield name or path.stem, path
        else:
            raise cli.UserError(f"{path}: no such file or folder; give a safetensors file or a model's folder")


def survey(paths: list[tuple[str, Path]]) -> dict[str, Any]:
    """The columns of the `layernorm` table for the given checkpoints (name, file), in the order given."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in tables.schema("layernorm").names}
    for model, path in paths:
        for norm, _, values in norms.read(path):
            entry = {"model": model, **norm._asdict()}
            for name, value in entry.items():
                rows[name].append(np.full(values.size, value))
            rows["index"].append(np.arange(values.size, dtype=np.int32))
            rows["value"].append(values.astype(np.float32))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def summary(gamma: np.ndarray, beta: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Counts, means, medians and the shares that the claims are about; γ and β of any shape."""
    g, b = gamma.astype(np.float64), beta.astype(np.float64)
    return {
        "gamma": {
            "n": g.size,
            "mean": g.mean(),
            "median": np.median(g),
            "min": g.min(),
            "max": g.max(),
            "share_in_range": ((g >= settings.gamma_from) & (g <= settings.gamma_to)).mean(),
            "share_below_1": (g < 1).mean(),
        },
        "beta": {
            "n": b.size,
            "mean": b.mean(),
            "median": np.median(b),
            "min": b.min(),
            "max": b.max(),
            "share_near_zero": (np.abs(b) < settings.beta_near_zero).mean(),
        },
    }


def main() -> None:
    parser = cli.parser(__doc__, "stages.layernorm")
    parser.add_argument("checkpoint", nargs="+", help="[NAME=]PATH of a safetensors file or of a model's folder")
    parser.add_argument("--out", type=Path, help="write only the table, to this file")
    arguments = parser.parse_args()
    paths = list(checkpoints(arguments.checkpoint))
    repeated = sorted({name for name, _ in paths if [other for other, _ in paths].count(name) > 1})
    if repeated:
        raise cli.UserError(f"{', '.join(repeated)}: the name of more than one checkpoint; write NAME=PATH")
    if not paths:
        raise cli.UserError(f"{', '.join(arguments.checkpoint)}: no safetensors file in there")
    columns = survey(paths)
    provenance = {model: files.sha256(path) for model, path in paths}
    if arguments.out:
        tables.write(arguments.out, "layernorm", columns, {"sha256": provenance})
        print(f"{arguments.out}: {columns['value'].size:,} LayerNorm parameters of {len(paths)} checkpoint(s)")
        return
    settings, _ = params.load("layernorm", Settings, Run)
    metrics = {}
    for model, _ in paths:
        of_model = columns["model"] == model
        gamma, beta = (columns["value"][of_model & (columns["kind"] == kind)] for kind in ("gamma", "beta"))
        metrics[model] = summary(gamma, beta, settings)
    tables.write(OUTPUT, "layernorm", columns, {"layernorm": settings.model_dump(), "sha256": provenance})
    files.write_metrics("layernorm", metrics)


if __name__ == "__main__":
    cli.run(main)
