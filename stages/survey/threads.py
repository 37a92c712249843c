"""Several requests at once, in threads that nobody waits for: whoever stops, stops, whatever a server is up to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")

AT_ONCE = 8  # requests in flight


def begin(work: Callable[[], T]) -> Future[T]:
    """Do it in a thread of its own, which ends with the program if not before."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def each(work: Callable[[A], T], items: Iterable[A]) -> list[T]:
    """The results of `work` for every item, in their order; what the first one to fail raises, at once."""
    todo = list(enumerate(items))[::-1]
    if len(todo) < 2:
        return [work(item) for _, item in todo]
    found: dict[int, T] = {}

    def some() -> None:
        while todo:
            try:
                n, item = todo.pop()
            except IndexError:  # another thread took the last one
                return
            found[n] = work(item)

    threads = [begin(some) for _ in range(min(AT_ONCE, len(todo)))]
    try:
        for done in wait(threads, return_when=FIRST_EXCEPTION).done:
            done.result()
    finally:
        todo.clear()
    return [found[n] for n in sorted(found)]
