"""Notices; how far a long job is: a bar on a terminal alone, a line every half minute elsewhere; and quiet libraries."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys

import pytest

from tasks.progress import progress
from tests.conftest import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_half_minute(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    with progress(1200, "score", "row") as bar:
        for _ in range(12):
            clock[0] += 10
            bar.update(100)
    # At 30, 60 and 90 seconds; what is done at 120 needs no line.
    assert out.getvalue() == (
        "score: 300 of 1,200 rows, 10.00row/s, about 01:30 left\n"
        "score: 600 of 1,200 rows, 10.00row/s, about 01:00 left\n"
        "score: 900 of 1,200 rows, 10.00row/s, about 00:30 left\n"
    )
    assert bar.n == 1200


def test_what_was_done_before_does_not_make_it_faster(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    bar = progress(1000, "train", "step", initial=900)
    clock[0] += 50
    bar.update(50)
    assert out.getvalue() == "train: 950 of 1,000 steps,  1.00step/s, about 00:50 left\n"


@pytest.mark.parametrize("hidden", ["one item", "not asked for", "another process"])
def test_nothing_is_shown_where_there_is_nothing_to_say(monkeypatch, clock, hidden):
    if hidden == "another process":
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setenv("RANK", "1")
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(1 if hidden == "one item" else 100, "score", shown=hidden != "not asked for") as bar:
            clock[0] += 60
            bar.update()
        assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    with progress(10, "score") as bar:
        bar.update(10)
        bar.delay = 0
        bar.refresh()
    assert "score: 100%" in out.getvalue()


def test_where_the_end_is_not_known_it_says_how_far_it_is(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    with progress(None, "reading news.csv") as bar:
        clock[0] += 40
        bar.update(4000)
    assert out.getvalue() == "reading news.csv: 4,000 rows, 100.00row/s\n"


def test_one_bar_is_seen_at_a_time(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    monkeypatch.setenv("TQDM_DELAY", "0")

    def written(action) -> str:
        out.seek(0)
        out.truncate()
        action()
        return out.getvalue()

    with progress(10, "training") as training:
        inner = progress(10, "evaluating")
        assert "evaluating" in written(inner.refresh)
        assert written(training.refresh) == ""
        after = written(inner.close)
        assert after.strip().startswith("training:") and "\n" not in after  # in the same line
        assert "training" in written(training.refresh)


def test_a_notice_is_its_bare_message_on_the_stderr_of_the_moment_and_said_once(monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(everything := io.StringIO())])
    with contextlib.redirect_stderr(io.StringIO()) as out:
        logging.getLogger("tasks.preparing.splits").info("%s: the first %d of %d rows", "train", 3, 9)
        logging.getLogger("tasks.preparing.splits").debug("not shown")
    assert out.getvalue() == "train: the first 3 of 9 rows\n"
    assert everything.getvalue() == ""


def test_of_several_processes_the_first_gives_notice(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    with contextlib.redirect_stderr(io.StringIO()) as out:
        logging.getLogger("tasks.training").warning("said by the first")
    assert out.getvalue() == ""


def test_a_notice_stands_on_a_line_of_its_own_beside_a_bar(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    with progress(10, "score") as bar:
        bar.refresh()
        logging.getLogger("tasks.training").warning("a notice")
    assert "\ra notice\n" in out.getvalue()


def test_the_bars_of_libraries_stay_out_of_a_file():
    code = "import tasks, tqdm.auto\nfor _ in tqdm.auto.tqdm(range(3), desc='Loading weights'): pass"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
