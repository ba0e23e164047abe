"""The processes of one run, as torchrun starts them: how rows are shared out and gathered, and which of them speaks.

Every process runs the same script. Rows are read by all, answered by one process each and gathered, so that every process
holds the same predictions and takes the same decisions; the first one writes files and prints.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

Item = TypeVar("Item")

#: Libraries that have a switch of their own for progress bars and messages, read when they are imported.
SWITCHES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers goes by it, too
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
}

#: What gloo, nccl and the store say when they cannot reach another process.
LOST = re.compile(r"\w+ \w+ by (remote )?peer|Broken pipe|[Tt]imed out( waiting \w+)?|remote process exited|failed to recv")

#: Seconds that a process which has nothing to add leaves to torchrun for ending it.
PATIENCE = 20.0

#: SIGTERM, where it came while an error was on its way out.
_asked: list[int] = []


def rank() -> int:
    """The number of this process, from 0 to ``world_size() - 1``; 0 where torchrun has not started it."""
    return int(os.environ.get("RANK", "0")) if "LOCAL_RANK" in os.environ else 0


def world_size() -> int:
    """How many processes this run has, on all of its machines."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def processes(seconds: float = 1800.0) -> PartialState:
    """accelerate's state of this process: its device (a GPU of its own, where there are any) and its group.

    Whoever calls first makes the group, in which a process waits for the others for so many ``seconds``.
    """
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(seconds=seconds))


def share(sizes: Sequence[int]) -> list[int]:
    """Which items this process works on, as increasing numbers: dealt out by size, so that all have as much to do.

    The shares of all processes hold each of ``range(len(sizes))`` once. A share is empty where items are few.
    """
    state = processes()
    largest_first = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    return sorted(largest_first[state.process_index :: state.num_processes])


def gather(numbers: Sequence[int], items: Sequence[Item]) -> list[Item]:
    """What all processes made of their share ``numbers``, in the order of the numbers; every process gets all of it."""
    pairs = gather_lists(list(zip(numbers, items, strict=True)))
    return [item for _, item in sorted(pairs, key=operator.itemgetter(0))]


def gather_lists(items: list[Item]) -> list[Item]:
    """The lists of all processes, one behind the other, in every process. They are pickled, and may differ in length."""
    from accelerate.utils import gather_object

    processes()
    return gather_object(items)


def silence_all_but_first() -> None:
    """Keep the libraries of the other processes from saying what the first one says. Called before they are imported."""
    if not is_first():
        os.environ.update(SWITCHES)


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Around a script: only the first process prints, and SIGTERM ends a process of several by KeyboardInterrupt.

    torchrun sends SIGTERM to the others when one process has ended. Without a handler they would end without a word, and
    a process that was killed says nothing either.
    """
    if world_size() == 1:
        yield
        return

    def stopped(*_: object) -> NoReturn:
        raise KeyboardInterrupt(
            "SIGTERM: either torchrun was stopped, or another process of this run has ended; torchrun's report below tells"
        )

    signal.signal(signal.SIGTERM, stopped)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        try:
            with contextlib.nullcontext() if is_first() else contextlib.redirect_stdout(nowhere):
                yield
        except BaseException:
            signal.signal(signal.SIGTERM, lambda number, _: _asked.append(number))  # what went wrong is to be told first
            raise
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def lost_process(error: Exception) -> str | None:
    """What to tell of an ``error`` that says no more than that another process cannot be reached; None of other errors."""
    found = LOST.search(str(error)) if world_size() > 1 and isinstance(error, RuntimeError) else None
    if found is None:
        return None
    return (
        f"another process of this run has ended or hangs ({found[0]}); torchrun's report below tells which; start again, a "
        "run in training with --resume_from_checkpoint last"
    )


def tells_error() -> bool:
    """Whether this process is the one to report what went wrong: the first of the run that asks, on whichever machine.

    The same mistake is found by every process, and one that ends takes others with it. They agree through the store that
    torchrun keeps. Where that is gone, each tells: better twice than not at all.
    """
    if world_size() == 1:
        return True
    from torch.distributed import TCPStore

    try:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5), wait_for_workers=False)
        return store.add("korean-causal-lm-tasks/error", 1) == 1
    except (KeyError, RuntimeError):
        return True


def leave_silently(exit_code: int) -> NoReturn:
    """End a process whose error another one tells, but not before that one has: torchrun ends all when the first ends."""
    end = time.monotonic() + PATIENCE
    while not _asked and time.monotonic() < end:
        time.sleep(0.05)
    sys.exit(exit_code)
