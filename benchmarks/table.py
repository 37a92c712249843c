"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COLUMNS = ("variant", "s a step (min-max)", "tokens/s", "GFLOP/s", "of products", "peak memory")


def spread(found: dict[str, float], scale: float = 1.0, digits: int = 3) -> str:
    """A median with its range."""
    middle, low, high = (f"{found[name] / scale:.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({low}-{high})"


def lines(report: dict[str, Any]) -> Iterator[str]:
    """The whole report, line by line."""
    machine, load = report["machine"], report["load"]
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory'] / 1e9:.0f} GB of memory; "
        f"torch {machine['torch']} ({machine['vectors']}), {machine['threads']} threads, no accelerator used"
    )
    if load:
        low, high = load["during"]
        own = "measuring alone makes it up to the number of threads"
        yield f"load average: {load['before']:.2f} before, {low:.2f}-{high:.2f} during ({own})"
    side = report["side"]
    for name, rate in report["rates"].items():
        yield f"products of {side} x {side} matrices, {name}: {spread(rate, 1e9, 0)} GFLOP/s"
    for found in report["sizes"]:
        yield from _at(found)


def _at(found: dict[str, Any]) -> Iterator[str]:
    size = found["size"]
    yield ""
    yield (
        f"{size['name']}: {size['blocks']} blocks, width {size['width']}, {size['heads']} heads, context "
        f"{size['context_length']}, batch {size['batch_size']}, vocabulary {size['vocabulary']}: "
        f"{size['parameters']:,} parameters, {size['tokens']:,} tokens a step"
    )
    if found["rows"]:
        yield from _aligned([COLUMNS, *map(_cells, found["rows"])])
    for ratio in found["ratios"]:
        yield (
            f"{ratio['ours']} is {spread(ratio['speed'], digits=2)} times as fast as {ratio['peer']}, "
            f"with {ratio['memory']:.0%} of its memory"
        )
    if "pair" in found:
        ratios = " and ".join(f"{value:.2f}" for value in found["pair"]["ratios"])
        alone = " and ".join(f"{value:.1f}" for value in found["pair"]["alone"])
        yield f"two trainings at once: {ratios} times as long as alone ({found['pair']['steps']} steps: {alone} s)"
    if "watching" in found:
        yield _watching(found["watching"])


def _watching(found: dict[str, Any]) -> str:
    return (
        f"watching, {found['precision']}: {found['snapshots']} snapshots of {found['snapshot_seconds']:.3f} s are "
        f"{found['snapshots_share']:.1%} of {found['steps']} steps of {found['step_seconds']:.3f} s, with "
        f"{found['test_losses']} test losses of {found['test_loss_seconds']:.3f} s {found['share']:.1%}"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "skipped" in row:
        return row["name"], f"skipped: {row['skipped']}"
    return (
        row["name"],
        spread(row["seconds"], digits=4 if row["seconds"]["median"] < 1 else 2),
        f"{row['tokens_per_second']:,.0f}",
        f"{row['flops_per_second'] / 1e9:.1f}",
        f"{row['share_of_rate']:.0%}",
        f"{row['peak'] / 1e9:.2f} GB",
    )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    full = [row for row in rows if len(row) == len(COLUMNS)]
    widths = [max(len(row[i]) for row in full) for i in range(len(COLUMNS))]
    widths[0] = max(len(row[0]) for row in rows)
    for row in rows:
        if len(row) < len(COLUMNS):
            yield f"{row[0]:<{widths[0]}}  {row[1]}"
            continue
        rest = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join([f"{row[0]:<{widths[0]}}", *rest])
