"""How a mistake of the user ends: one ``error:`` line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import contextlib
import errno
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tasks import distributed

#: What libraries say that write files from other languages and raise no OSError.
FULL_DISK = (
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system"
    r"|PytorchStreamWriter failed writing file|unexpected pos \d+ vs"
)

#: What a disk says that is full, over its quota, over the size that a file may have, or closed to us.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

#: What CUDA, cuBLAS, torch's allocators and accelerate's search for a batch size say where memory has run out.
OUT_OF_MEMORY = r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|No executable batch size found"


class UserError(Exception):
    """A mistake of the user. The message says what is wrong, where (file and row), and what to do, in one line.

    ``resume`` is the command that goes on with work that was kept; it is printed last, on a line of its own.
    """

    def __init__(self, message: str, resume: str | None = None) -> None:
        super().__init__(message)
        self.resume = resume


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after the state was saved. The message says where it is; ``resume`` as in UserError."""

    def __init__(self, message: str, resume: str | None = None, exit_code: int = 130) -> None:
        super().__init__(message)
        self.resume = resume
        self.exit_code = exit_code


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the memory of a GPU or of the machine is full."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(re.search(OUT_OF_MEMORY, str(error))))


@contextlib.contextmanager
def explained(doing: str, advice: Callable[[], Sequence[str]], kept: Callable[[], str] = str) -> Iterator[None]:
    """Turn an out-of-memory error inside into a UserError that names the first three of ``advice``.

    ``kept`` says what was saved. Both are asked when it happens; advice comes with what most likely helps first.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(describe(error, doing, advice()) + kept()) from None


def describe(error: BaseException, doing: str, advice: Sequence[str]) -> str:
    """One line: what ran out, and the first three of ``advice``."""
    reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
    return f"out of memory while {doing} ({reason}); what helps most: {', or '.join(advice[:3])}"


def handle_errors(module: str) -> None:
    """From here to the end of the program do what ``user_errors`` does; the first thing in every script.

    So Ctrl-C while libraries are imported, which takes seconds, ends in one line too. ``module`` is the ``__name__`` of the
    script: one that is imported handles nothing.
    """
    if module != "__main__":
        return
    voice = contextlib.ExitStack()
    voice.enter_context(distributed.one_voice())

    def handle(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        try:
            with user_errors(), voice:
                raise error.with_traceback(traceback)
        except SystemExit:
            raise
        except BaseException:  # a defect of this project
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = handle


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and an exit code: 2 for a mistake, 130 for Ctrl-C, 143 for SIGTERM.

    Anything else is a defect of this project and keeps its traceback. Of several
    processes one speaks.
    """
    try:
        yield
    except UserError as error:
        stop(str(error), 2, error.resume)
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted; nothing more was written, and what was there before is as it was"
        stop(message, getattr(interrupt, "exit_code", 130), getattr(interrupt, "resume", None))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left (`predict.py ... | head`): nothing is wrong
        raise SystemExit(0) from None
    except Exception as error:
        if lost := distributed.lost_process(error):
            stop(lost, 1)
        if is_out_of_memory(error):
            flags = ("a smaller --model", "--max_train_samples and --max_eval_samples", "--max_length")
            stop(describe(error, "loading", flags), 2)
        reason = write_failure(error)
        if reason is None:
            if not distributed.tells_error():
                distributed.leave_silently(1)
            raise
        stop(f"{reason}; free some space or choose another --output_dir, and run again", 2)


def write_failure(error: Exception) -> str | None:
    """Which file could not be written and why; None where the error is another one.

    safetensors and torch.save have errors of their own for a full disk.
    """
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}" if error.errno in DISK_ERRORS else None
    reason = next((line for line in str(error).splitlines() if re.search(FULL_DISK, line)), None)
    return f"a file could not be written ({reason})" if reason else None


def stop(message: str, exit_code: int, resume: str | None = None) -> None:
    """Print ``message`` as the one ``error:`` line, and the command that goes on, and leave with ``exit_code``."""
    if not distributed.tells_error():
        if exit_code == 143:  # torchrun, which has sent it to all, waits for their end
            raise SystemExit(exit_code)
        distributed.leave_silently(exit_code)
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if getattr(bars, "_instances", None) or distributed.world_size() > 1:
        print(file=sys.stderr)  # a progress bar, of this process or another, leaves its line open
    print("error: " + " ".join(message.split()), file=sys.stderr, flush=True)
    if resume:
        print(resume, file=sys.stderr, flush=True)
    raise SystemExit(exit_code)
