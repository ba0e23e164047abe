"""Errors that a user can cause: one ``error:`` line on stderr, exit code 2, no traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tasks import distributed

#: Messages of libraries that write files from other languages and raise no OSError.
FULL_DISK = (
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system"
    r"|PytorchStreamWriter failed writing file|unexpected pos \d+ vs"
)

#: A disk that is full or over its quota, a file that is too large, a folder without write permission.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

#: Messages of CUDA, cuBLAS, torch's allocators and accelerate's search for a batch size.
OUT_OF_MEMORY = r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|No executable batch size found"


#: What a SIGTERM is told with, the innermost last, and the command that resumes (``when_ended``).
_ended: list[tuple[str, str | None]] = [("nothing more was written, and what was there before is as it was", None)]
#: Moves the cursor, changes colours or the title of a terminal, or reverses text. tqdm's own movement is let through.
CONTROL = re.compile("(?!\x1b\\[A)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """``text`` with control characters as JSON writes them (``\\u001b``), for a terminal; line breaks and tabs stay."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Shown:
    """A stream that writes what is ``shown``: names of files and models, and what a model writes, come from anybody."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # A console that has no Hangul replaces it; a file takes all of it.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            regular = stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and "PYTHONIOENCODING" not in os.environ
            stream.reconfigure(errors="replace", **({"encoding": "utf-8"} if regular else {}))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As a text stream."""
        return self._stream.write(shown(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """As a text stream."""
        self._stream.writelines(map(shown, lines))


class UserError(Exception):
    """A mistake of the user: one line says what is wrong, where (file and row), and what to do.

    ``resume`` is a command that resumes saved work, printed on a line of its own.
    """

    def __init__(self, message: str, resume: str | None = None) -> None:
        super().__init__(message)
        self.resume = resume


class RowError(UserError):
    """Something is wrong with one row, of a ``kind`` that is counted. Whoever reads the rows adds file and row number."""

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


def skip_counts(errors: Sequence[UserError]) -> Counter[str]:
    """How many rows were ``skipped`` for these errors, and how many of them for each kind: ``skipped_no_text``."""
    return Counter(skipped=len(errors)) + Counter(f"skipped_{getattr(error, 'kind', 'damaged')}" for error in errors)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM after the state was saved; the message says where. ``resume`` as in UserError."""

    def __init__(self, message: str, resume: str | None = None, exit_code: int = 130) -> None:
        super().__init__(message)
        self.resume = resume
        self.exit_code = exit_code


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a GPU or of the machine is full."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(re.search(OUT_OF_MEMORY, str(error))))


@contextlib.contextmanager
def explained(doing: str, advice: Callable[[], Sequence[str]], kept: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn an out-of-memory error into a UserError with the first three of ``advice``, the most helpful first.

    ``kept`` returns what was saved. Both are called only on such an error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(describe(error, doing, advice()) + kept()) from None


def describe(error: BaseException, doing: str, advice: Sequence[str]) -> str:
    """The message of an out-of-memory ``error``, with the first three of ``advice``."""
    reason = (str(error).splitlines() or [""])[0][:150] or type(error).__name__
    return f"out of memory while {doing} ({reason}); what helps most: {', or '.join(advice[:3])}"


def handle_errors(module: str) -> None:
    """Do what ``user_errors`` does until the program ends: the first call of every script, with its ``__name__``."""
    if module != "__main__":
        return
    sys.stdout, sys.stderr = Shown(sys.stdout), Shown(sys.stderr)
    distributed.speak_once()
    if distributed.world_size() == 1:
        process = os.getpid()

        def ended(*_: Any) -> None:
            try:
                if os.getpid() == process:  # and no worker of it
                    stop(f"ended by SIGTERM; {_ended[-1][0]}", 143, _ended[-1][1])
            finally:
                os._exit(143)  # at once: threads that send gigabytes are not waited for

        signal.signal(signal.SIGTERM, ended)

    def handle(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        distributed.hold_sigterm()
        if distributed.world_size() > 1:
            sys.stderr = sys.__stderr__  # torch.distributed wraps this hook, captures stderr and drops it on SystemExit
        try:
            with user_errors():
                raise error.with_traceback(traceback)
        except SystemExit:
            raise
        except BaseException:  # a defect of this project
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = handle


@contextlib.contextmanager
def when_ended(kept: str, resume: str | None = None) -> Iterator[None]:
    """What a SIGTERM says in this block of what is ``kept``, and the command ``resume`` that goes on."""
    _ended.append((kept, resume))
    try:
        yield
    finally:
        _ended.pop()


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and an exit code: 2 for a mistake, 130 for Ctrl-C, 143 for SIGTERM.

    Anything else is a defect and keeps its traceback. Of several processes one reports.
    """
    try:
        yield
    except UserError as error:
        stop(str(error), 2, error.resume)
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted; nothing more was written, and what was there before is as it was"
        stop(message, getattr(interrupt, "exit_code", 130), getattr(interrupt, "resume", None))
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has ended (`predict.py ... | head`): not an error
        raise SystemExit(0) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            stop(f"{str(error.filename)[:60]}...: a name of {len(str(error.filename)):,} characters; give a shorter one", 2)
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
    """Which file could not be written and why; None for other errors. safetensors and torch.save have their own errors."""
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}" if error.errno in DISK_ERRORS else None
    reason = next((line for line in str(error).splitlines() if re.search(FULL_DISK, line)), None)
    return f"a file could not be written ({reason})" if reason else None


def stop(message: str, exit_code: int, resume: str | None = None) -> None:
    """Print ``message`` as the one ``error:`` line and the command ``resume``, and exit with ``exit_code``."""
    if not distributed.tells_error():
        if exit_code == 143:  # torchrun, which sent SIGTERM to all, waits for their end
            raise SystemExit(exit_code)
        distributed.leave_silently(exit_code)
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if getattr(bars, "_instances", None) or distributed.world_size() > 1:
        print(file=sys.stderr)  # a progress bar, of this process or another, leaves its line open
    print("error: " + shown(" ".join(message.split())), file=sys.stderr, flush=True)
    if resume:
        print(resume, file=sys.stderr, flush=True)
    raise SystemExit(exit_code)
