"""Time Model 5's training and the survey of norms on this machine, beside transformers, and print a table.

Training: medians of whole steps (forward, backward, optimiser) after a warm-up, each variant in a process of its own.
`ours-portable` is Model 5 in portable arithmetic, on one core; `ours-fp32` and `ours-bf16` are in native arithmetic;
`transformers-…` is GPT-2 of that library at the same size. Model FLOPs are 6 x parameters x tokens; their share is of
the rate of matrix products in the same precision and on as many cores. The articles' size takes several minutes on a
small machine, and 9 GB of memory; let nothing else run meanwhile.

Norms: medians of whole processes, the start of Python included (see `tools.bench.norms`).

examples:
  goldilocks bench --size small
  goldilocks bench --size articles --only ours-fp32 --only transformers-fp32
"""

from __future__ import annotations

import json
from statistics import median

from goldilocks.core import cli, system_info
from tools.bench import norms, training
from tools.bench.costs import cost, row

NAMES = (*training.VARIANTS, "norms")


def train(name: str, variants: list[str], steps: int) -> None:
    """Print the rows of a size."""
    size = training.SIZES[name]
    print(
        f"\n{name} size: {size.blocks} blocks, width {size.width}, context {size.context_length}, batch "
        f"{size.batch_size}, {size.parameters:,} parameters, {size.tokens:,} tokens a step"
    )
    for variant in variants:
        done = cost("-m", "tools.bench.training", variant, name, str(steps or size.steps), str(system_info.cores()))
        measured = json.loads(done.printed)
        if not measured:
            print(f"{variant:<46}skipped: this processor has no bfloat16 instructions")
            continue
        step = median(measured["seconds"])
        share, rate = size.flops / step / measured["rate"], measured["rate"] / 1e9
        more = f"{size.tokens / step:,.0f} tokens/s, {share:.0%} of {rate:.0f} GFLOP/s"
        print(row(variant, measured["seconds"], done.memory, more), flush=True)


def main() -> None:
    parser = cli.parser(__doc__, "tools.bench")
    defaults = ", ".join(f"{size.steps} at {name}" for name, size in training.SIZES.items())
    parser.add_argument("--size", choices=[*training.SIZES, "both"], default="both", help="of training; default: both")
    parser.add_argument("--steps", type=int, default=0, help=f"timed steps of each variant ({defaults})")
    parser.add_argument("--only", choices=NAMES, action="append", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--repeats", type=int, default=5, help="of surveys; default: %(default)s")
    arguments = parser.parse_args()
    wanted = arguments.only or NAMES
    variants = [name for name in training.VARIANTS if name in wanted]
    sizes = list(training.SIZES) if arguments.size == "both" else [arguments.size]
    print(
        f"{system_info.processor()}, {system_info.cores()} cores, load average {system_info.load():.2f} before\n"
        "median (min-max) of seconds, peak memory of a process",
        flush=True,
    )
    for name in sizes if variants else []:
        train(name, variants, arguments.steps)
    if "norms" in wanted:
        print("\nnorms of GPT-2 small")
        for line in norms.rows(arguments.repeats):
            print(line, flush=True)


if __name__ == "__main__":
    cli.run(main)
