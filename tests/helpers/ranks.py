"""Several processes at once, with gloo in place of nccl: functions as torchrun groups them, and torchrun itself.

All are forked from a server that has imported torch and transformers once, which otherwise takes seconds a process; or from
the test itself (``forked``), with all that it has patched.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, Finished

PRELOADED = [
    "tests.helpers.ranks", "datasets", "torch.distributed.run", "tasks.inference.predicting", "tasks.publishing.run",
    "tasks.arguments.training", "tasks.training.finishing", "tasks.training.trainer", "tests.helpers.frozen",
]  # fmt: skip


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def start(function: Callable[..., Any], *arguments: Any, forked: bool = False) -> multiprocessing.process.BaseProcess:
    """Call ``function(*arguments)`` in a process of its own."""
    if forked:
        process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
        process.start()
        return process
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        context.set_forkserver_preload(PRELOADED)
        process = context.Process(target=function, args=arguments)
        process.start()
    return process


def finish(process: multiprocessing.process.BaseProcess, seconds: float = 240) -> int:
    """Wait for a process; returns its exit code. One that hangs is killed, and fails the test."""
    process.join(seconds)
    if process.is_alive():
        kill = os.killpg if os.getpgid(process.pid) == process.pid else os.kill
        kill(process.pid, signal.SIGKILL)
        pytest.fail(f"still running after {seconds} seconds")
    return process.exitcode


def torchrun(folder: Path, *arguments: object, forked: bool = False) -> Finished:
    """``torchrun`` with these arguments, inside ``folder``. Each worker is forked from it instead of started anew."""
    return finish_torchrun(start_torchrun(folder, *arguments, forked=forked), folder)


def start_torchrun(folder: Path, *arguments: object, forked: bool = False) -> multiprocessing.process.BaseProcess:
    """The launcher, running; what it prints goes to ``folder``."""
    folder.mkdir(exist_ok=True)
    words = [*map(str, arguments)]
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    words.insert(script, str(ROOT / "tests" / "helpers" / "as_program.py"))
    return start(_torchrun, folder, ["--run-path", "--start-method", "fork", *words], forked=forked)


def finish_torchrun(process: multiprocessing.process.BaseProcess, folder: Path) -> Finished:
    """What a launcher and its workers have printed."""
    code = finish(process)
    return Finished(code, (folder / "stdout").read_text("utf-8"), (folder / "stderr").read_text("utf-8"))


def _torchrun(folder: Path, arguments: list[str]) -> None:
    from torch.distributed import run

    run.run_script_path = _run_script
    _write_to(folder)
    os.setsid()  # so that its workers can be killed with it
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    run.main(arguments)


def _write_to(folder: Path) -> None:
    """Let what this process prints go to files; where it was forked from a test, pytest has streams of its own."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, encoding="utf-8"))


def start_script(folder: Path, name: str, *arguments: object) -> multiprocessing.process.BaseProcess:
    """``scripts/<name>.py``, forked from the test and running inside ``folder``; what it prints goes there."""
    return start(_script, folder, str(ROOT / "scripts" / f"{name}.py"), [*map(str, arguments)], forked=True)


def _script(folder: Path, path: str, arguments: list[str]) -> None:
    _write_to(folder)
    os.chdir(folder)
    _run_script(path, *arguments)


def _run_script(path: str, *arguments: str) -> None:
    """In place of torchrun's own: errors reach ``sys.excepthook``, as in a worker that is a process of its own."""
    sys.argv = [path, *arguments]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)


def run_together(folder: Path, function: Callable[..., Any], *arguments: Any, processes: int = 2) -> list[Any]:
    """What ``function(*arguments)`` returns in each of the processes, by rank. ``folder`` is for their answers."""
    port = free_port()
    for process in [start(_in_group, folder, rank, processes, port, function, arguments) for rank in range(processes)]:
        finish(process)
    answers = [pickle.loads((folder / f"rank-{rank}").read_bytes()) for rank in range(processes)]
    for failed, answer in answers:
        assert not failed, answer
    return [answer for _, answer in answers]


def _in_group(folder: Path, rank: int, processes: int, port: int, function: Any, arguments: Any) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        answer = False, function(*arguments)
    except BaseException:
        answer = True, traceback.format_exc()
    (folder / f"rank-{rank}").write_bytes(pickle.dumps(answer))
    os._exit(answer[0])  # the other process may wait for this one in a collective that will not come
