"""How do Q, K and V move over a training? Their statistics at each checkpoint, block by block and head by head.

A checkpoint is named as for `goldilocks norms`: a folder or safetensors file, an address, a repository on the hub
(owner/name@revision). Only the attention's projections and the norms before them are read. Checkpoints stand in the
order of their steps, which are told by `trainer_state.json`, or by the name (checkpoint-500, @step1000); else in the
order given. What the articles claim of Q, K and V (W5-W8) is judged from the first to the last.

examples:
  goldilocks weights my-run/checkpoint-* --out weights.parquet --figure std.svg
  goldilocks weights --from watch/ --figure std.svg
  goldilocks weights EleutherAI/pythia-70m@step{0,1000,143000}
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from goldilocks.core import cli, files

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("q", "k", "v")


def summary(frame: pd.DataFrame) -> list[str]:
    """By which factor σ of Q, K and V grew, and what else is unlike at the end."""
    whole = frame[frame["head"] == -1]
    steps = sorted(whole["step"].unique())
    last = whole[whole["step"] == steps[-1]]
    modules = last["module"].nunique()
    heads = frame.loc[frame["part"] == "q", "head"].max() + 1
    by_head = f" of {heads} heads" if heads else ", heads unknown"
    between = f"steps {steps[0]} … {steps[-1]}, one training" if len(steps) > 1 else f"step {steps[0]}"
    lines = [f"{len(steps)} checkpoint{'s' * (len(steps) > 1)}, {between}; {modules} modules{by_head}"]
    for part in PARTS:
        of_part = last[last["part"] == part].sort_values("growth")
        most, means = of_part.iloc[-1], of_part.mean(numeric_only=True)
        lines.append(
            f"  {part.upper()}  σ {means['std']:.4g}, {means['growth']:.3g}-fold the first's "
            f"(most: block {most['block']}, {most['growth']:.3g}-fold)  "
            f"excess kurtosis {means['excess_kurtosis']:.3g}  "
            f"spectral norm {means['spectral_norm']:.3g}  stable rank {means['stable_rank']:.3g}  "
            f"cosine to the first {means['cosine_to_initial']:.3g}"
        )
    of_first = whole[whole["step"] == steps[0]]
    if last["gamma_mean"].notna().any():
        before, after = (of["gamma_mean"].mean() for of in (of_first, last))
        lines.append(f"  γ of the norm before: mean {before:.4g} at first, {after:.4g} at last")
    if bad := int(last["std"].isna().sum()):
        lines.append(f"  not finite: {bad} of {len(last)} at step {steps[-1]}")
    return lines


def claims(frame: pd.DataFrame) -> list[str]:
    """The articles' claims W5-W8 on this training."""
    from goldilocks.models.claims import judged

    entries = judged([frame])
    if not entries:
        return []
    lines = ["the articles' claims, of which one training decides none, since an honest interval needs 2 or more:"]
    for entry in entries:
        lines.append(f"  {entry['id']}  {entry['side'] or entry['verdict']}: {entry['sentence']}")
        numbers = [f"{each['subject']} is {each['value']:.3g}" for each in entry["requirements"]]
        notes = [note for note in entry["notes"] if "an honest interval needs" not in note]
        lines.append(f"      {'; '.join(filter(None, [*numbers, entry['reason'], *notes]))}")
    return lines


def zones(heads: pd.DataFrame) -> str:
    """How many heads lay in the zone at the first and the last look."""
    inside = (heads["zone"] == "inside").groupby(heads["step"]).agg(["sum", "size"])
    ends = [f"{count} of {heads} at step {step}" for step, count, heads in inside.iloc[[0, -1]].itertuples()]
    return f"heads in the zone: {', '.join(ends)}"


def main() -> None:
    parser = cli.parser(__doc__, "tools.weights")
    parser.add_argument("checkpoint", nargs="*", help="[NAME=]WHERE")
    parser.add_argument("--from", type=Path, dest="watched", metavar="FOLDER", help="of goldilocks.Watch, instead")
    parser.add_argument("--out", type=Path, help="write the statistics to this Parquet file")
    parser.add_argument("--figure", type=Path, metavar="SVG", help="draw σ by block over the steps")
    arguments = parser.parse_args()
    if bool(arguments.checkpoint) == bool(arguments.watched):
        parser.error("name checkpoints, or a folder with --from")
    if arguments.figure and arguments.figure.suffix != ".svg":
        parser.error("--figure must be the name of an .svg file")
    from goldilocks.checkpoints.client import Client
    from goldilocks.models import parquet
    from goldilocks.models.weights import TAIL_SIGMAS, read_watched, weights

    if arguments.out:
        parquet.may_be_replaced(arguments.out)
    lines = []
    if arguments.watched:
        frame = read_watched(arguments.watched)
        if (arguments.watched / "attention").is_dir():
            lines.append(zones(read_watched(arguments.watched, "attention")))
    else:
        client = Client()
        frame = weights(arguments.checkpoint, client=client)
        print(f"read {client.tally.bytes:,} bytes in {client.tally.requests} requests", file=sys.stderr)
    if arguments.out:
        parquet.write(arguments.out, "weights", frame, {"tail_sigmas": TAIL_SIGMAS})
    if arguments.figure:
        from goldilocks.plotting import batch, series, style

        with style.applied():
            files.write_text(arguments.figure, batch.svg(series.std_by_block(frame), 150))
    print("\n".join([*summary(frame), *lines, *claims(frame)]))


if __name__ == "__main__":
    cli.run(main)
