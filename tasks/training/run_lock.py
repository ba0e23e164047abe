"""One run at a time in a folder."""

from __future__ import annotations

import errno
import os
import socket
from io import TextIOWrapper
from pathlib import Path

from tasks.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

LOCK_FILE = ".lock"

#: The locks of this process. Closing any handle of a locked file releases its lock, so each is opened once and kept.
_held: dict[Path, TextIOWrapper] = {}


def lock(folder: str | Path, create: bool = True) -> None:
    """Lock the folder for this process, until it ends; the kernel releases the lock even where it was killed.

    A POSIX record lock: unlike flock's, it is not kept by a child that outlives its parent for a moment (a worker of a data
    loader), and it holds between machines on NFS. Under torchrun the first process holds it for all. A file system without
    locks is used without. With ``create`` off a folder that has no lock file yet stays as it is.

    Raises:
        UserError: another run holds it (its process and machine are named), or the folder cannot be written to.
    """
    path = Path(folder).resolve() / LOCK_FILE
    if fcntl is None or not (create or path.exists()):
        return
    if path in _held and path.exists() and os.path.samestat(os.fstat(_held[path].fileno()), path.stat()):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until the process ends)
    except OSError as error:
        raise UserError(f"--output_dir {folder}: {error.strerror}; choose a folder that you may write to") from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise UserError(
                f"--output_dir {folder} is in use by another run ({_holder(file)}); wait for it, stop it, or choose "
                "another folder"
            ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[path] = file


def _holder(file: TextIOWrapper) -> str:
    """Who wrote the lock file."""
    file.seek(0)
    return file.read().strip() or "its process is not known"
