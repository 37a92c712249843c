"""Which stages may run now? Those that are out of date and whose needs are met."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

Graph = Mapping[str, Collection[str]]
"""The names of stages, each after all that it needs, and what it needs directly."""


def short_name(stage: str) -> str:
    """A stage's name without the file that declares it."""
    return stage.rpartition(":")[2]


class Schedule:
    """The stages that are still to be checked, and those at work.

    A stage that needs one which is out of date may turn out to be up to date, if that one makes the same again. So its
    status is asked for once everything it needs is settled, and never before.

    Args:
        graph: all stages.
        changed: those that are out of date as things are.
        status: says which of some stages are out of date now.
    """

    def __init__(self, graph: Graph, changed: Collection[str], status: Callable[[list[str]], Collection[str]]) -> None:
        self._graph, self._status = graph, status
        self.changed = set(changed)
        self.waiting: set[str] = set()
        self.running: set[str] = set()
        for name, needs in graph.items():
            if name in self.changed or not self.waiting.isdisjoint(needs):
                self.waiting.add(name)

    def _in_order(self, names: Collection[str]) -> list[str]:
        return [name for name in self._graph if name in names]

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """All that these stages need, directly or not."""
        found: set[str] = set()
        for name in reversed(list(self._graph)):
            if name in found or name in set(names):
                found.update(self._graph[name])
        return found

    def _blocked(self) -> set[str]:
        """The stages that wait for one which is at work or has to run."""
        found: set[str] = set()
        busy = self.running | (self.waiting & self.changed)
        for name in self._in_order(self.waiting):
            if any(need in busy or need in found for need in self._graph[name]):
                found.add(name)
        return found

    def _settle(self) -> None:
        """Ask for the status of stages whose needs are settled, and drop those that are up to date."""
        uncertain = self._in_order(self.waiting - self.changed - self._blocked())
        if not uncertain:
            return
        self.changed.update(self._status(uncertain))
        self.waiting.difference_update(set(uncertain) - self.changed - self._blocked())

    def ready(self) -> list[str]:
        """The stages that may begin, in the order of the graph."""
        self._settle()
        pending = self.waiting | self.running
        return [name for name in self._in_order(self.waiting) if pending.isdisjoint(self._graph[name])]

    def begin(self, name: str) -> None:
        self.waiting.remove(name)
        self.running.add(name)

    def end(self, name: str) -> None:
        self.running.remove(name)
