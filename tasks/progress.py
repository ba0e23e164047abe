"""What a run says while it works: notices, and how far a long job is.

Progress is a bar on a terminal, and a line every half minute anywhere else (a file, CI, a scheduler's log).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

from tasks.distributed import is_first

logger = logging.getLogger(__name__)

#: Seconds between two lines where no bar is drawn.
INTERVAL = 30.0

#: Seconds after which a bar appears: those of libraries ("Loading weights", "Writing model shards") are mostly done before.
DELAY = "3"


def quiet_bars() -> None:
    """Show no bar before ``DELAY``, and none where there is no terminal. Called before tqdm is imported."""
    os.environ.setdefault("TQDM_DELAY", DELAY)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")


class Notices(logging.Handler):
    """Writes bare messages to whatever ``sys.stderr`` is at the time, clear of any bar, in the first process only."""

    def emit(self, record: logging.LogRecord) -> None:
        """As ``logging`` asks of a handler."""
        if is_first():
            from tqdm import tqdm

            tqdm.write(self.format(record), file=sys.stderr)


def set_up_logging() -> None:
    """Show what the loggers of this package say from INFO on; ``parse_arguments`` applies ``--log_level``."""
    package = logging.getLogger("tasks")
    package.setLevel(logging.INFO)
    package.addHandler(Notices())
    package.propagate = False  # a library that configures the root logger would print everything a second time


class Lines:
    """``update`` and ``close`` of a tqdm bar as lines on stderr; none for a job that ends within the first interval."""

    def __init__(self, total: int, description: str, unit: str, initial: int, shown: bool) -> None:
        """``initial`` of ``total`` were done before."""
        self.total, self.description, self.unit, self.shown = total, description, unit, shown
        self.n = self._initial = initial
        self._started = self._printed = time.monotonic()

    def update(self, count: int = 1) -> None:
        """``count`` more are done."""
        from tqdm import tqdm

        self.n += count
        now = time.monotonic()
        if not self.shown or now - self._printed < INTERVAL or self.n >= self.total:
            return
        self._printed = now
        left = (now - self._started) / max(1, self.n - self._initial) * (self.total - self.n)
        place = f"{self.description}: {self.n:,} of {self.total:,} {self.unit}s"
        logger.info("%s, about %s left", place, tqdm.format_interval(left))

    def close(self) -> None:
        """Nothing is left open."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def progress(total: int, description: str, unit: str = "row", *, initial: int = 0, shown: bool = True) -> Any:
    """A context manager with ``update(count)``, ``close()`` and ``n``: a tqdm bar on a terminal, ``Lines`` elsewhere.

    Of several processes the first one shows it; where there is one item or ``shown`` is off, none does.
    """
    shown = shown and total > 1 and is_first()
    if not sys.stderr.isatty():
        return Lines(total, description, unit, initial, shown)
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, unit=unit, initial=initial, disable=not shown, dynamic_ncols=True)
