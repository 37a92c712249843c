"""What do trained LayerNorms do? Every γ and β of the checkpoints given. (claims S10-S12)

Source: experiment 4 of the article on numerical scaling: weight γ ("stretching") and bias β ("shifting") of every
LayerNorm. `goldilocks/checkpoints/` reads the header of a safetensors file and the bytes of the norms, and nothing
else, from disk or from a server. A checkpoint is

  a file or folder             my-model.safetensors  my-model/  model.safetensors.index.json
  an address                   https://host/model.safetensors  s3://bucket/folder (where fsspec has a driver)
  a repository on the hub      owner/name  owner/name@revision

and `NAME=` before it names it. Prints statistics of all γ and β and of each tensor; --out writes every value.

As the pipeline's stage (--stage) it also surveys every checkpoint in data/inputs/checkpoints/ and writes
data/layernorm.parquet and reports/metrics/layernorm.json.

examples:
  goldilocks norms openai-community/gpt2 my-model/ --out norms.parquet
  goldilocks norms mine=https://host/model.safetensors --json
  python -m stages.layernorm my-model/                          the same
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from goldilocks.checkpoints import summary
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import Extraction
from goldilocks.checkpoints.load import load
from goldilocks.checkpoints.reference import GAMMA_FROM, GAMMA_TO, NEAR_ZERO  # the stage takes params.yaml's
from goldilocks.config.layernorm import Settings
from goldilocks.core import cli, files, params
from goldilocks.core.params import Section as Run

OUTPUT = files.DATA / "layernorm.parquet"
CHECKPOINTS = files.DATA / "inputs" / "checkpoints"
PROVENANCE = files.DATA / "inputs" / "provenance.json"


def columns(extractions: Iterable[Extraction]) -> dict[str, Any]:
    """The columns of the `layernorm` table for the given checkpoints, in their order."""
    from goldilocks.core.tables import Runs

    tensors = [(one, tensor) for one in extractions for tensor in one.tensors]
    lengths = [tensor.values.size for _, tensor in tensors]
    texts = {
        "model": [one.model for one, _ in tensors],
        "revision": [one.revision for one, _ in tensors],
        "family": [one.family for one, _ in tensors],
        "place": [tensor.norm.place for _, tensor in tensors],
        "kind": [tensor.norm.kind for _, tensor in tensors],
        "stored": [tensor.stored for _, tensor in tensors],
    }
    return {name: Runs(values, lengths) for name, values in texts.items()} | {
        "block": np.repeat(np.array([tensor.norm.block for _, tensor in tensors], np.int16), lengths),
        "index": np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        "value": np.concatenate([tensor.values for _, tensor in tensors]),
    }


def survey(arguments: Iterable[str], client: Client) -> list[Extraction]:
    """The norms of every checkpoint that the arguments name.

    Raises:
        UserError: if one can't be read, or two have one name.
    """
    extractions = [load(argument, client) for argument in arguments]
    names = [one.model for one in extractions]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise cli.UserError(f"{', '.join(repeated)}: the name of more than one checkpoint; write NAME=WHERE")
    return extractions


def unknown_conventions(extractions: Iterable[Extraction]) -> dict[str, dict[str, str]]:
    """For a table's metadata: why it is not known of a model whether it stores γ less 1. Empty if all is known."""
    reasons = {one.model: one.unknown for one in extractions if one.unknown}
    return {"unknown_convention": reasons} if reasons else {}


def stage(arguments: list[str]) -> None:
    """Survey what `inputs` brought and what the arguments name; write the pipeline's table and metrics."""
    from goldilocks.core import tables

    settings, _ = params.load("layernorm", Settings, Run)
    revisions = {entry["input"]: entry["revision"] for entry in files.read_json(PROVENANCE)["inputs"]}
    brought = sorted(path.as_posix() for path in CHECKPOINTS.glob("*/"))
    extractions = [
        one._replace(revision=revisions.get(f"checkpoints/{one.model}", one.revision))
        for one in survey([*brought, *arguments], Client())
    ]
    thresholds = (settings.gamma_from, settings.gamma_to, settings.beta_near_zero)
    parameters = {"layernorm": settings.model_dump()} | unknown_conventions(extractions)
    tables.write(OUTPUT, "layernorm", columns(extractions), parameters)
    metrics = {
        one.model: summary.by_kind(one, *thresholds)
        | {"unrecognised": len(one.unrecognised)}
        | ({"unknown_convention": one.unknown} if one.unknown else {})
        for one in extractions
    }
    files.write_metrics("layernorm", metrics)


def _path(text: str) -> Path:
    if Path(text).name in ("", "..") or "://" in text:
        raise argparse.ArgumentTypeError("not the name of a file")
    return Path(text)


def parsed() -> argparse.Namespace:
    parser = cli.parser(__doc__, "stages.layernorm")
    parser.add_argument("checkpoint", nargs="+", help="[NAME=]WHERE, see above")
    parser.add_argument("--out", type=_path, help="write every value to this Parquet file")
    parser.add_argument("--json", action="store_true", help="print the statistics as JSON")
    parser.add_argument("--tensors", action="store_true", help="a line for each tensor of several checkpoints too")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS", help="for an answer, default %(default)s"
    )
    parser.add_argument("--retries", type=int, default=4, help="of a request that failed, default %(default)s")
    parser.add_argument("--stage", action="store_true", help="be the pipeline's stage")
    arguments = parser.parse_args()
    if not 0 < arguments.timeout <= 600 or not 0 <= arguments.retries <= 10:
        parser.error("--timeout must be more than 0 and at most 600, --retries 0 to 10")
    if arguments.out:
        from goldilocks.models import parquet

        parquet.may_be_replaced(arguments.out)
    return arguments


def main() -> None:
    arguments = parsed()
    if arguments.stage:
        stage(arguments.checkpoint)
        return
    client = Client(arguments.timeout, arguments.retries)
    tally = client.tally
    extractions = survey(arguments.checkpoint, client)
    thresholds = (GAMMA_FROM, GAMMA_TO, NEAR_ZERO)
    checkpoints = [summary.to_dict(one, *thresholds) for one in extractions]
    if arguments.out:
        from goldilocks.core import tables

        revisions = {"revisions": {one.model: one.revision for one in extractions}}
        tables.write(arguments.out, "layernorm", columns(extractions), revisions | unknown_conventions(extractions))
    read = {"requests": tally.requests, "bytes": tally.bytes}
    if arguments.json:
        print(json.dumps({"checkpoints": files.rounded(checkpoints), "read": read}, indent=2, ensure_ascii=False))
    else:
        print(summary.table(checkpoints, *thresholds, arguments.tensors or len(checkpoints) == 1))
    print(f"read {tally.bytes:,} bytes in {tally.requests} requests", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
