"""A function over many items in several processes, the results in the order of the items."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tasks.errors import UserError

#: Items that may be ahead of the one in hand, a process: enough to keep all busy, few enough to hold in memory.
AHEAD = 4

_function: Callable[[Any], Any]


def ordered_map(function: Callable[[Any], Any], items: Iterable[Any], processes: int) -> Iterator[Any]:
    """``function(item)`` of each item, in order; an error is raised in its place. One process is this one.

    Raises:
        UserError: a process was ended from outside, most likely for want of memory.
    """
    if processes <= 1:
        yield from map(function, items)
        return
    from accelerate.utils import patch_environment

    # A forked process has the rows already; where there is no fork, function and rows are pickled once a process.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(function,))
    waiting: deque[Any] = deque()
    # The tokenizers library has to be told before the fork: its threads do not survive in a child.
    with patch_environment(TOKENIZERS_PARALLELISM="false"):
        try:
            for item in items:
                waiting.append(pool.submit(_call, item))
                if len(waiting) > AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"one of the {processes} processes that prepare the rows was ended from outside, most likely for want of "
                "memory; lower --preprocessing_num_workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(function: Callable[[Any], Any]) -> None:
    """Set a worker up. Ctrl-C reaches the whole group of processes; the parent answers it."""
    global _function  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _function = function


def _call(item: Any) -> Any:
    return _function(item)
