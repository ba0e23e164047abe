"""The processes of a run under torchrun: how rows are shared and gathered, and which process reports an error.

Each process reads all rows, predicts its share and gathers the rest; the first one writes files and prints.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from accelerate import PartialState

Item = TypeVar("Item")

#: Environment variables for progress bars and messages that libraries read when they are imported.
SWITCHES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers goes by it, too
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
}

#: Messages of gloo, nccl and the store about another process that cannot be reached.
LOST = re.compile(r"\w+ \w+ by (remote )?peer|Broken pipe|[Tt]imed out( waiting \w+)?|remote process exited|failed to recv")

#: Seconds that a process whose error another one reports waits for torchrun's SIGTERM.
PATIENCE = 20.0

#: SIGTERMs received while an error was already propagating.
_sigterms: list[int] = []


def rank() -> int:
    """The number of this process, from 0 to ``world_size() - 1``; 0 without torchrun."""
    return int(os.environ.get("RANK", "0")) if "LOCAL_RANK" in os.environ else 0


def world_size() -> int:
    """The number of processes of this run, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def launcher(script: str, processes: int) -> list[str]:
    """The words that started this run before its ``script``: ``accelerate launch`` with its options, torchrun or python."""
    import psutil

    for process in psutil.Process().parents()[:2]:
        with contextlib.suppress(psutil.Error, StopIteration):
            words = process.cmdline()
            start = next(i for i, word in enumerate(words) if word == "accelerate.commands.launch" or (
                word == "launch" and os.path.basename(words[i - 1]) == "accelerate"))  # fmt: skip
            end = next(i for i, word in enumerate(words) if os.path.basename(word) == os.path.basename(script))
            return ["accelerate", "launch", *words[start + 1 : end]]
    return ["torchrun", "--nproc_per_node", str(processes)] if processes > 1 else ["python"]


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return rank() == 0


def processes(seconds: float = 1800.0) -> PartialState:
    """accelerate's state of this process: its device, and its group, whose collectives time out after ``seconds``."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(seconds=seconds))


def share(sizes: Sequence[int]) -> list[int]:
    """The indices of this process's items, in increasing order. Shares are balanced by ``sizes`` and may be empty."""
    state = processes()
    largest_first = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    return sorted(largest_first[state.process_index :: state.num_processes])


def gather(numbers: Sequence[int], items: Sequence[Item]) -> list[Item]:
    """The results of all processes, each for its share ``numbers``, in the order of the numbers, in every process."""
    pairs = gather_lists(list(zip(numbers, items, strict=True)))
    return [item for _, item in sorted(pairs, key=operator.itemgetter(0))]


def gather_lists(items: list[Item]) -> list[Item]:
    """The lists of all processes, concatenated, in every process. They are pickled, and may differ in length."""
    from accelerate.utils import gather_object

    processes()
    return gather_object(items)


def silence_all_but_first() -> None:
    """Silence libraries in all processes but the first. Called before they are imported."""
    if not is_first():
        os.environ.update(SWITCHES)


def speak_once() -> None:
    """Under torchrun let only the first process print, and SIGTERM raise KeyboardInterrupt.

    torchrun sends it to the others when one process has ended; if that one was killed, one of them has to report it.
    """
    if world_size() == 1:
        return

    def stopped(*_: object) -> NoReturn:
        raise KeyboardInterrupt(
            "SIGTERM: either torchrun was stopped, or another process of this run has ended; torchrun's report below tells"
        )

    signal.signal(signal.SIGTERM, stopped)
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends


def hold_sigterm() -> None:
    """From the first error on only note SIGTERMs: the error is reported first."""
    if world_size() > 1:
        signal.signal(signal.SIGTERM, lambda number, _: _sigterms.append(number))


def lost_process(error: Exception) -> str | None:
    """The message for an ``error`` that only means that another process cannot be reached; None for other errors."""
    found = LOST.search(str(error)) if world_size() > 1 and isinstance(error, RuntimeError) else None
    if found is None:
        return None
    return (
        f"another process of this run has ended or hangs ({found[0]}); torchrun's report below tells which; start again, a "
        "run in training with --resume_from_checkpoint last"
    )


def tells_error() -> bool:
    """Whether this process reports the error: the first to ask torchrun's store does; if that is gone, each does."""
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
    """End a process whose error another one reports, after that one, since torchrun ends all when the first ends."""
    end = time.monotonic() + PATIENCE
    while not _sigterms and time.monotonic() < end:
        time.sleep(0.05)
    sys.exit(exit_code)
