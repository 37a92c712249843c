"""Inject faults into `make repro`, and see that no result is ever wrong and that a plain re-run heals everything.

A copy of the project is rebuilt in smoke size, undisturbed. Then faults are put into copies of that, one after another:
rebuilds are killed, disks fill up, files and DVC's cache are damaged, git is interrupted, the clock is set back. After
each, what the disturbed run left is compared with the undisturbed result: dvc.lock, every report, every byte of data.
Either it is right, or the run ended with a clear error. Then the fault is taken away and `make repro` runs once more,
which has to succeed with the right result.

  healed alone         right, although the fault was there
  by a plain re-run    it was killed or ended with a clear error, and the re-run was right
  untidy               as before, but with a traceback or without a message
  wrong                exit code 0, and other bytes
  stuck                the re-run failed, or gave other bytes

Exit codes: 0 all healed; 1 something was untidy, wrong or stuck; 2 it could not run.

examples:
  python -m chaos
  python -m chaos --minutes 3 --only kill --only disk-full --seed 7
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from chaos import mounts
from chaos.campaign import FAULTS, Campaign, say
from chaos.verdicts import FAILURES, table
from stages.common import cli

WORK = Path("/var/tmp")  # noqa: S108 - /tmp itself is filled up by a fault; the folder made there has a random name


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return minutes


def _listed() -> str:
    width = max(len(fault.name) for fault in FAULTS)
    not_here = f" (not here: {mounts.missing()})" if mounts.missing() else ""
    return "\n".join(f"{fault.name:<{width}}  {fault.what}{not_here * fault.mounts}" for fault in FAULTS)


def main() -> None:
    parser = cli.parser(__doc__, "chaos")
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="for everything (default: 10)")
    parser.add_argument("--seed", default="1", help="names the random choices (default: 1)")
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", choices=names, action="append", metavar="NAME", help="only this one; see --list")
    parser.add_argument("--list", action="store_true", help="list the faults, and which can't be had here")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="a copy in smoke size that is rebuilt already")
    arguments = parser.parse_args()
    mounts.enter()
    if arguments.list:
        print(_listed())
        return
    if arguments.built and not (arguments.built / "dvc.lock").is_file():
        raise cli.UserError(f"--built {arguments.built}: no copy of the project: no dvc.lock")
    with tempfile.TemporaryDirectory(prefix="goldilocks-chaos-", dir=WORK, ignore_cleanup_errors=True) as work:
        campaign = Campaign(Path(work), arguments.seed, 60 * arguments.minutes)
        campaign.prepare(arguments.built)
        try:
            campaign.run([fault for fault in FAULTS if not arguments.only or fault.name in arguments.only])
        finally:
            print("\n".join(table(campaign.outcomes, campaign.skipped)))
            say(f"{campaign.elapsed / 60:.1f} minutes, seed {arguments.seed}")
    if not campaign.outcomes:
        raise cli.UserError("nothing was injected: give it more --minutes")
    found = {outcome for outcomes in campaign.outcomes.values() for outcome in outcomes}
    sys.exit(1 if found & set(FAILURES) else 0)


if __name__ == "__main__":
    cli.run(main)
