"""Check that the committed results reproduce: make them again from nothing in a clone, and compare byte for byte.

First it checks by hashes that the commit is consistent: reports, dvc.lock, parameters, code and versions. Then every
stage, one of the ablations, and their summary run in a clone of HEAD without any cache. Every hash in dvc.lock and
every file under reports/ must be the committed one. Where the same bytes are not promised (another kind of processor or
system, a GPU, native arithmetic) it compares metrics by rules instead, and says so.

Changes that are not committed are ignored. Nothing outside a temporary folder is written, except the file of
--markdown.

Exit codes: 0 it reproduces; 1 it does not; 2 it could not run.

examples:
  goldilocks verify                             all of it
  goldilocks verify --stages sweep,softmax      these stages, and whatever they need
  goldilocks verify --static                    only the check by hashes, in seconds
  goldilocks verify --markdown comment.md       write the result as Markdown, too
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from goldilocks.core import cli, files, params, system_info
from goldilocks.core.dvc_files import ABLATIONS_LOCK, LOCK, DvcLock
from tools.scheduling import pipeline
from tools.verification import approximate, compare
from tools.verification.clone import Clone, output_of, problems
from tools.verification.compare import Difference

HEAD = ["output", "stage", "first value that differs", "rebuilt", "committed", "by"]


@dataclass
class Result:
    """What a verification found."""

    commit: str
    unpromised: list[str]
    """Why the same bytes are not promised, so that only metrics were compared; empty if they are."""
    problems: list[str]
    """Inconsistencies of the commit, found by hashes."""
    compared: int = 0
    """Outputs, or metrics where bytes are not promised; 0 if nothing was made again."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.problems and not self.differences

    def verdict(self) -> str:
        """The result in one line."""
        if not self.sound:
            kind = "metrics" if self.unpromised else "outputs"
            found = f"inconsistencies of the commit: {len(self.problems)}; "
            found += f"differences: {len(self.differences)} in {self.compared} {kind}"
        elif not self.compared:
            found = "what is committed belongs together; nothing was made again"
        elif self.unpromised:
            found = f"the {self.compared} metrics that were made again fit, by the weaker check"
        else:
            found = f"all {self.compared} outputs that were made again are the same bytes"
        return f"{'' if self.sound else 'NOT '}verified: commit {self.commit[:12]}: {found}"

    def body(self) -> list[str]:
        """What was found, as lines of Markdown that a terminal shows as well."""
        lines = [*(f"* {problem}" for problem in self.problems), *[""] * bool(self.problems)]
        if self.differences:
            lines += [*table([HEAD, ["---"] * len(HEAD), *self.differences]), ""]
        if self.compared:  # this machine as in the table of docs/verification.md
            machine = f"{system_info.processor()}, {system_info.cores()} cores, {platform.platform()}"
            lines.append(f"Made again on {machine}.")
        if self.unpromised:
            lines.append(
                "Metrics were compared by rules, which is the weaker check, as the same bytes are not promised:"
            )
            lines += [f"* {reason}" for reason in self.unpromised]
        return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a Markdown table, its columns aligned."""
    signs = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "\\|"})
    cells = [[" ".join(cell.translate(signs).split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells]


def one_ablation(rebuilt: Clone, committed: Clone, cache: Path, commit: str) -> tuple[int, list[Difference]]:
    """Make one training of the ablations again, and the stages that are not trainings: code and summary.

    The commit's hash selects it, so that over time all are tried.
    """
    recorded = DvcLock(committed.folder / ABLATIONS_LOCK).stages
    trainings = [name for name in recorded if "@" in name]
    chosen = trainings[int(commit, 16) % len(trainings)]
    print(f"rebuilding of the ablations: {chosen}", file=sys.stderr, flush=True)
    for stage in (name for name in recorded if "@" not in name or name == chosen):
        rebuilt.run("dvc", "--cd", str(pipeline.ABLATIONS), "repro", "--force", "--single-item", stage)
    return compare.of_lock(ABLATIONS_LOCK, rebuilt.folder, committed.folder, cache)


def verify(source: Path, folder: Path, stages: Sequence[str], static: bool) -> Result:
    """Verify what is committed in `source`, this folder's repository, in a temporary folder.

    Raises:
        UserError: if it could not be done.
    """
    commit = output_of(["git", "rev-parse", "HEAD"], source).strip()
    committed = Clone(source, folder / "committed", commit)
    reasons = approximate.unpromised(params.read(committed.folder / params.PARAMS))
    result = Result(commit, reasons, problems(committed, stages))
    if static:
        return result
    cache = pipeline.cache_folder()
    rebuilt = Clone(source, folder / "rebuilt", commit)
    rebuilt.rebuild(stages)
    if reasons:
        made = DvcLock(rebuilt.folder / LOCK).entries("outs")
        result.compared, result.differences = approximate.differences(made, rebuilt.folder, committed.folder)
        return result
    result.compared, result.differences = compare.of_lock(LOCK, rebuilt.folder, committed.folder, cache, not stages)
    if not stages:
        more, found = one_ablation(rebuilt, committed, cache, commit)
        result.compared += more
        result.differences += found
    return result


def main() -> None:
    parser = cli.parser(__doc__, "tools.verify")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stages", default="", metavar="A,B", help="only these, and what they need (default: all)")
    what.add_argument("--static", action="store_true", help="only what hashes tell, without a rebuild")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the result as Markdown, too")
    options = parser.parse_args()
    stages = [name.strip() for name in options.stages.split(",") if name.strip()]
    if output_of(["git", "status", "--porcelain"], Path.cwd()):
        print("what is not committed is not verified: git status lists it", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="goldilocks-verify-", ignore_cleanup_errors=True) as folder:
        result = verify(Path.cwd(), Path(folder).resolve(), stages, options.static)
    lines = result.body()
    print(*lines, result.verdict(), sep="\n", flush=True)
    if options.markdown:
        files.write_text(options.markdown, "\n".join([f"### {result.verdict()}", "", *lines, ""]))
    sys.exit(0 if result.sound else 1)


if __name__ == "__main__":
    cli.run(main)
