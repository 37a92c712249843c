"""The command `goldilocks`: run, check and configure the pipeline, and survey the norms of any checkpoint.

examples:
  goldilocks norms openai-community/gpt2
  goldilocks attention my-model/ --text my.txt
  goldilocks verify --static
  goldilocks repro --jobs 1
"""

from __future__ import annotations

import importlib
import sys

from goldilocks.core import cli

COMMANDS = {
    "norms": ("stages.layernorm", "γ and β of every normalisation layer of a checkpoint"),
    "weights": ("tools.weights", "how Q, K and V move over a training, by its checkpoints"),
    "attention": ("tools.attention", "whether each head of a model is in the Goldilocks zone, on a text"),
    "repro": ("tools.run", "rebuild what is out of date, as many stages at once as there are cores"),
    "curves": ("tools.curves", "watch the losses of the trainings that run, in a page"),
    "configure": ("tools.configure", "apply a preset or single values to params.yaml"),
    "verify": ("tools.verify", "rebuild what is committed in a clone, and compare every byte"),
    "repair": ("tools.repair", "mend what a killed run left behind"),
    "archive": ("tools.archive_run", "keep a run's metrics and figures in reports/paper/"),
    "docs": ("tools.build_docs", "write the README's generated sections anew"),
    "bench": ("tools.bench.__main__", "time Model 5 and its peers on this machine"),
}
"""Each command with the module whose `main` it calls, and what it does."""


def overview() -> str:
    """The commands, one a line."""
    width = max(map(len, COMMANDS))
    return "\n".join(f"  goldilocks {name:<{width}}  {words}" for name, (_, words) in COMMANDS.items())


def main() -> None:
    """Call a command's `main` with the arguments that follow its name."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(f"usage: goldilocks COMMAND ...\n\n{__doc__}\ncommands:\n{overview()}\n")
        print("goldilocks COMMAND --help says more.")
        return
    if name not in COMMANDS:
        print(f"error: goldilocks has no command {cli.plain(name)!r}; there are:\n{overview()}", file=sys.stderr)
        sys.exit(cli.EXIT_USER_ERROR)
    sys.argv = [f"{cli.COMMAND} {name}", *arguments]
    cli.run(importlib.import_module(COMMANDS[name][0]).main)


if __name__ == "__main__":
    main()
