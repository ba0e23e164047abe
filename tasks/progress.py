"""What a run says while it works: notices, and how far a long job is.

Progress is a bar on a terminal, and a line every half minute anywhere else (a file, CI, a scheduler's log).
"""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Any

from tasks.distributed import is_first
from tasks.errors import shown

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

            tqdm.write(shown(self.format(record)), file=sys.stderr)


def set_up_logging() -> None:
    """Show what the loggers of this package say from INFO on; ``parse_arguments`` applies ``--log_level``."""
    package = logging.getLogger("tasks")
    package.setLevel(logging.INFO)
    package.addHandler(Notices())
    package.propagate = False  # a library that configures the root logger would print everything a second time


def progress(total: int, description: str, unit: str = "row", *, initial: int = 0, shown: bool = True) -> Any:
    """A tqdm bar, which on a terminal is drawn, and elsewhere gives notice every ``INTERVAL``.

    Of several processes the first one shows it; where there is one item or ``shown`` is off, none does.
    """
    from tqdm.auto import tqdm

    class Lines(tqdm):
        monitor_interval = 0  # no thread beside processes that are forked

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if msg is None and self.n < self.total:
                logger.info("%s", self)

    hidden = not (shown and total > 1 and is_first())
    common = {"total": total, "desc": description, "unit": unit, "initial": initial, "disable": hidden}
    if sys.stderr.isatty():
        return tqdm(**common, dynamic_ncols=True)
    line = "{desc}: {n:,} of {total:,} {unit}s, about {remaining} left"
    options = {"mininterval": INTERVAL, "delay": INTERVAL, "miniters": 1, "smoothing": 0, "leave": False}
    return Lines(**common, **options, bar_format=line, file=io.StringIO())
