"""Runs that are ended from outside: in a process of their own, forked from this one, where torch is loaded already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from tests.conftest import run_main

#: The exit code that multiprocessing reports of a process that kill -9 ended.
KILLED = -signal.SIGKILL


def _child(name: str, arguments: tuple, folder: Path, kill_at: tuple[str, str] | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if kill_at:
        event, part = kill_at

        def hook(seen: str, details: tuple) -> None:
            if seen == event and any(part in str(detail) for detail in details):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
    result = run_main(name, arguments, "", folder)
    (folder / "stderr").write_text(result.stderr, "utf-8")
    os._exit(result.code)


def run_process(
    name: str, *arguments: object, folder: Path, kill_after: float | None = None, kill_at: tuple[str, str] | None = None
) -> int:
    """Run ``scripts/<name>.py``; returns its exit code, ``KILLED`` where kill -9 came first. ``folder`` gets its stderr.

    ``kill_after`` are seconds until kill -9 comes from outside. ``kill_at`` is a moment: an audit event of Python (``open``,
    ``os.rename``) and a part of one of its arguments.
    """
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_child, args=(name, arguments, folder, kill_at))
    process.start()
    if kill_after is not None:
        process.join(kill_after)
        process.kill()
    process.join(300)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{name} hangs")
    return process.exitcode


def seconds_of(name: str, *arguments: object, folder: Path) -> float:
    """How long a run takes that nobody ends."""
    started = time.monotonic()
    code = run_process(name, *arguments, folder=folder)
    if code:
        raise RuntimeError((folder / "stderr").read_text("utf-8"))
    return time.monotonic() - started
