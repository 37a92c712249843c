"""Time Model 5's training on this machine, beside GPT-2 of transformers, and print a table.

A row has the median of whole steps (forward, backward, optimiser) after a warm-up with its range, the peak memory of
their process, tokens per second, and the FLOP/s of the step's matrix products as a share of what large matrices reach.
`ours-portable` is Model 5 as the stage `train` trains it by default, in portable arithmetic on one core; `ours-fp32`
and `ours-bf16` are in native arithmetic; `transformers-…` is GPT-2 of that library at the same size, in native
arithmetic, too. The articles' size takes several minutes on a small machine, and 9 GB of memory; let nothing else run
meanwhile.

examples:
  goldilocks bench --size small
  goldilocks bench --size articles --only ours-fp32 --only transformers-fp32
"""

from __future__ import annotations

import subprocess
import sys

from goldilocks.core import cli, system_info
from tools.bench.training import SIZES, VARIANTS


def measure(variant: str, size: str, steps: int) -> None:
    """Let a process of its own print a row.

    Raises:
        UserError: if it fails.
    """
    command = [sys.executable, "-m", "tools.bench.training", variant, size, str(steps)]
    code = subprocess.run(command).returncode  # noqa: S603  this interpreter and a module of ours
    if code:
        reason = "it was killed, most likely because memory ran out" if code == -9 else "the lines above say why"
        raise cli.UserError(f"{variant} at {size} size failed: {reason}")


def main() -> None:
    parser = cli.parser(__doc__, "tools.bench")
    defaults = ", ".join(f"{size.steps} at {name}" for name, size in SIZES.items())
    parser.add_argument("--size", choices=[*SIZES, "both"], default="both", help="default: both")
    parser.add_argument("--steps", type=int, default=0, help=f"timed steps of each variant ({defaults})")
    parser.add_argument("--only", choices=VARIANTS, action="append", metavar="NAME", help=f"of {', '.join(VARIANTS)}")
    arguments = parser.parse_args()
    print(f"{system_info.processor()}, {system_info.cores()} cores, load average {system_info.load():.2f} before")
    for name in SIZES if arguments.size == "both" else [arguments.size]:
        size = SIZES[name]
        print(
            f"\n{name} size: {size.blocks} blocks, width {size.width}, context {size.context_length}, batch "
            f"{size.batch_size}, {size.tokens:,} tokens a step",
            flush=True,
        )
        for variant in arguments.only or VARIANTS:
            measure(variant, name, arguments.steps or size.steps)


if __name__ == "__main__":
    cli.run(main)
