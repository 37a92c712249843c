"""Does what is committed reproduce? Rebuilt from nothing in a clone, and compared output by output, value by value.

First it proves from hashes that what is committed belongs together: reports, dvc.lock, parameters, code and versions.
Then every stage runs in a clone of HEAD, without any cache, and each output is `identical`; `equal as data`, with the
same rows in other bytes; `within tolerance`, each number as near as tolerances.yaml allows; or `off`. Last it changes
each parameter and each seed at a small size, and sees that results follow (or don't, where they must not).

What is not committed is not looked at. Nothing outside a temporary folder is written but the results asked for, and
data/verification.json, which `explain` reads.

Exit codes: 0 nothing is off; 1 something is; 2 it could not run.

examples:
  python -m stages.verify                             all of it
  python -m stages.verify --stages sweep,softmax      these stages, and whatever they need
  python -m stages.verify --static                    only what needs no rebuild
  python -m stages.verify explain                     of the last result: what differs first, and by how much
  python -m stages.verify --markdown comment.md --json result.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages.common import cli, files, machine
from stages.verification import belongs, influence, rebuilt, tell
from stages.verification.rebuild import Clone, clone, environment, output_of
from stages.verification.tolerances import TOLERANCES, Tolerances

LAST = files.DATA / "verification.json"
OFF = "off"


def verify(source: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Verify what is committed in `source`, in a temporary folder.

    Raises:
        UserError: if it could not be done.
    """
    target, commit = clone(source, folder)
    here = Clone(target, environment(folder))
    stages = [name.strip() for name in options.stages.split(",") if name.strip()]
    committed = rebuilt.Committed(here, stages)
    problems = belongs.problems(here, committed.rebuilt if stages else ())
    result: dict[str, Any] = {"commit": commit, "set": options.set, "machine": machine.describe(), "stages": stages}
    result |= {"problems": problems, "outputs": [], "values": [], "influence": None}
    if not options.static:
        tolerances = Tolerances(target / TOLERANCES, options.exact)
        if options.set:
            here.configure(options.set)
        rebuilt.rebuild(here, committed, None if options.set else commit)
        result["outputs"], result["values"] = rebuilt.compare(here, committed, tolerances)
        if options.influence:
            result["influence"], found = influence.of_everything(here, folder, stages)
            problems += found
    return result | {"off": len(problems) + sum(output["class"] == OFF for output in result["outputs"])}


def uncommitted(source: Path) -> int:
    """How many files differ from what is committed."""
    return len(output_of(["git", "status", "--porcelain"], source).splitlines())


def main() -> None:
    parser = cli.parser(__doc__, "stages.verify")
    parser.add_argument("what", nargs="?", choices=["explain"], help="of the last result: what differs first")
    parser.add_argument("--stages", default="", metavar="A,B", help="only these, and what they need (default: all)")
    parser.add_argument("--static", action="store_true", help="only what is proved without a rebuild")
    parser.add_argument(
        "--no-influence", dest="influence", action="store_false", help="don't change parameters and seeds"
    )
    parser.add_argument(
        "--exact", action="store_true", help="on the kind of processor that made it: nothing may differ"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="rebuild with other parameters")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of the result; for explain, read it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as Markdown, for a comment")
    options = parser.parse_args()
    if options.what == "explain":
        told = options.json or LAST
        if not told.is_file():
            raise cli.UserError(f"{told}: no such file; run python -m stages.verify first")
        print(tell.explanation(files.read_json(told)))
        return
    if uncommitted(Path.cwd()):
        print("what is not committed is not verified: git status lists it", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="goldilocks-verify-", ignore_cleanup_errors=True) as folder:
        result = verify(Path.cwd(), Path(folder), options)
    print(tell.text(result), flush=True)
    for path in filter(None, (LAST, options.json)):
        files.write_json(path, result)
    if options.markdown:
        files.write_text(options.markdown, tell.markdown(result))
    sys.exit(1 if result["off"] else 0)


if __name__ == "__main__":
    cli.run(main)
