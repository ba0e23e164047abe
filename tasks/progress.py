"""What a run says while it works: notices, and how far a long job is.

Progress is a bar on a terminal, and a line every half minute anywhere else (a file, CI, a scheduler's log).
"""

from __future__ import annotations

import io
import logging
import os
import sys
import weakref
from typing import Any

from tasks.distributed import is_first
from tasks.errors import shown

logger = logging.getLogger(__name__)

#: Seconds between two lines where no bar is drawn.
INTERVAL = 30.0

#: The bars that are open, the one that is seen at the end.
_open: list[weakref.ref[Any]] = []

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


def progress(total: int | None, description: str, unit: str = "row", *, initial: int = 0, shown: bool = True) -> Any:
    """A tqdm bar, which on a terminal is drawn, and elsewhere gives notice every ``INTERVAL``: how much, how fast, how long.

    One bar is seen at a time: that of an evaluation takes the place of the training's until it is closed. Of several
    processes the first one shows it; where there is one item or ``shown`` is off, none does. ``total`` may be unknown.
    """
    from tqdm.auto import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # no thread beside processes that are forked

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if _seen() is not self:
                return
            if drawn:
                super().display(msg, 0)
            elif msg is None and self.n != self.total:
                logger.info("%s", self)

        def close(self) -> None:
            super().close()
            was_seen = _seen() is self
            _open[:] = [reference for reference in _open if reference() not in (None, self)]
            if was_seen and drawn and _open:
                _seen().refresh()

        __eq__, __hash__ = object.__eq__, object.__hash__  # tqdm compares places on the screen

    drawn = sys.stderr.isatty()
    hidden = not (shown and (total is None or total > 1) and is_first())
    common = {"total": total, "desc": description, "unit": unit, "initial": initial, "disable": hidden}
    if drawn:
        bar = Bar(**common, dynamic_ncols=True, leave=_seen() is None)
    else:
        line = "{desc}: {n:,}" + (" {unit}s" if total is None else " of {total:,} {unit}s") + ", {rate_noinv_fmt}"
        line += "" if total is None else ", about {remaining} left"
        options = {"mininterval": INTERVAL, "delay": INTERVAL, "miniters": 1, "smoothing": 0, "leave": False}
        bar = Bar(**common, **options, bar_format=line, file=io.StringIO())
    if not hidden:
        _open.append(weakref.ref(bar))
    return bar


def _seen() -> Any:
    """The bar that was opened last, of those that are open."""
    return next((bar for reference in reversed(_open) if (bar := reference()) is not None), None)
