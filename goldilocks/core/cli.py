"""How every command of the project starts, fails and stops."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Callable

from goldilocks.core import unchanged

EXIT_USER_ERROR = 2
LONGEST_LINE = 2000  # characters
COMMAND = "goldilocks"


class UserError(Exception):
    """A problem that the user can solve; printed as one line for each part of it, without a traceback.

    Args:
        problems: the lines; each says what is wrong, where, and what to do.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def plain(text: str) -> str:
    """Text from outside as one line, without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.expandtabs())


def redacted(url: str) -> str:
    """An address as messages and tables show it: without password, query and fragment."""
    return re.sub("(?<=//)[^/]*@", "", re.split("[?#]", url)[0])


def parser(module_doc: str | None, prog: str) -> argparse.ArgumentParser:
    """An argument parser whose help is the module's docstring, for `python -m PROG` or a command of `goldilocks`."""
    return argparse.ArgumentParser(
        prog=sys.argv[0] if sys.argv[0].startswith(f"{COMMAND} ") else f"python -m {prog}",
        description=module_doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def no_arguments(module_doc: str | None, prog: str) -> None:
    """Parse the command line of a stage that takes no arguments (so that `--help` works)."""
    parser(module_doc, prog).parse_args()


def seed(text: str) -> int:
    """A seed on a command line, 0 … 2147483647; for `argparse`."""
    if not text.isdecimal() or not 0 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError("must lie in 0 … 2147483647")
    return int(text)


def _terminated(*_: object) -> None:
    print("terminated", file=sys.stderr)
    sys.exit(128 + signal.SIGTERM)


def _print_error(problem: str) -> None:
    line = plain(problem)
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]}… {line[-LONGEST_LINE // 2 :]}"
    print(f"error: {line}", file=sys.stderr)


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn its failures into exit codes; a stage that DVC runs fails if what it was made from changed.

    Exit codes: 0 done; 2 the user can solve it (one line each on stderr); 130 interrupted; 141 output closed;
    143 terminated; anything else is a defect and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # in a terminal that can't print γ
    try:
        made_from = unchanged.begun()
        main()
        if made_from and (changed := made_from.changed()):
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise UserError(
                f"{changed[0]}{more}: changed while {made_from.stage} ran, so its result is of neither version and is "
                "not recorded; run it again (make repro)"
            )
    except UserError as error:
        for problem in error.problems:
            _print_error(problem)
        sys.exit(EXIT_USER_ERROR)
    except BrokenPipeError:
        os._exit(128 + signal.SIGPIPE)  # the reader of our output has gone
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _print_error(f"{error.filename or 'file system'}: {error.strerror or error}")
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
