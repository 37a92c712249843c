"""Time Model 5's training beside its peers on this machine's processor, and print a table.

Whole steps (forwards, backwards, optimiser) after a warm-up, medians with their range, each variant in processes of its
own, in turns. `ours-portable` is Model 5 in portable arithmetic, on one core; `exercise` is Model 5 as the exercise
writes it, `transformers` GPT-2 of that library at the same sizes. Model FLOPs are 6 x parameters x tokens; their share
is of the rate of matrix products in the same arithmetic and precision.
The articles' size takes tens of minutes on a small machine and 9 GB of memory; let nothing else run meanwhile.

examples:
  python -m benchmarks --size small
  python -m benchmarks --size articles --only ours-bf16 --only exercise-fp32 --json
"""

from __future__ import annotations

import argparse
import json

from benchmarks import table
from benchmarks.measuring import NAMES, Measuring, Plan
from benchmarks.sizes import SIZES
from stages.common import cli, machine

FEWEST_STEPS = 5


def _steps(text: str) -> int:
    steps = int(text)
    if steps < FEWEST_STEPS:
        raise argparse.ArgumentTypeError(f"{steps}: at least {FEWEST_STEPS} make a median")
    return steps


def _threads(text: str) -> int:
    threads = int(text)
    if threads < 1:
        raise argparse.ArgumentTypeError(f"{threads}: must be at least 1")
    return threads


def main() -> None:
    parser = cli.parser(__doc__, "benchmarks")
    defaults = ", ".join(f"{size.steps} at {name}" for name, size in SIZES.items())
    parser.add_argument("--size", choices=[*SIZES, "both"], default="both", help="default: both")
    parser.add_argument("--steps", type=_steps, default=0, help=f"timed steps of each variant (default: {defaults})")
    parser.add_argument("--only", choices=NAMES, action="append", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--threads", type=_threads, default=machine.cores(), help="default: the cores, %(default)s here"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args()
    sizes = list(SIZES.values()) if arguments.size == "both" else [SIZES[arguments.size]]
    plan = Plan(arguments.threads, tuple(arguments.only or NAMES), arguments.steps)
    report = Measuring(plan).everything(sizes)
    print(json.dumps(report, indent=2) if arguments.json else "\n".join(table.lines(report)))


if __name__ == "__main__":
    cli.run(main)
