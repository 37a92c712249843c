"""What does every result that is not in git hold? Kept, for rebuilds elsewhere to be held against.

A clone has the hashes of the data in dvc.lock, and a hash only says whether bytes are the same. On another processor
the last digits of a training differ; then rows, means, deviations and extremes of each column tell by how much.

Reads:  every output under data/, as told on the command line
Writes: reports/digests.json: for each file its MD5, as in dvc.lock, its size and what `verification.contents` gives

example: python -m stages.digests data/tokens data/sweep.parquet
"""

from __future__ import annotations

from pathlib import Path

from stages.common import cli, files, params
from stages.verification.contents import below, contents, md5

OUTPUT = Path("reports/digests.json")


class Settings(params.Section):
    """This stage has no settings."""


class Run(params.Section):
    """This stage sees nothing of `run:`."""


def main() -> None:
    parser = cli.parser(__doc__, "stages.digests")
    parser.add_argument("outputs", nargs="+", type=Path, metavar="OUTPUT", help="a file or folder, such as data/tokens")
    found = {}
    for output in parser.parse_args().outputs:
        for path in below(output):
            found[path.as_posix()] = {
                "md5": md5(path),
                "bytes": path.stat().st_size,
                "contents": contents(path),
            }
    files.write_json(OUTPUT, found)


if __name__ == "__main__":
    cli.run(main)
