"""What the fuzz tests share: hostile text and JSON, a run of a property, and a clock that turns a hang into a failure."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import UserError

#: A property is tried on a few examples in every run of the tests, and on many by ``pytest -m slow``.
EXAMPLES = pytest.mark.parametrize("examples", [40, pytest.param(1000, marks=pytest.mark.slow)])

#: Pieces of text that some reader, formatter or tokenizer may take for something else.
PIECES = [
    # control characters, what cannot be written, and what is not seen
    "\0", "\x01", "\x1a", "\x1b[31m", "\x1c", "\x7f", "\x85", "\ud83d", "\udcff", "\u200b", "\u202e", "\u2066", "\ufeff",
    "\u2028", "\u3000", "\xa0", "\U0010ffff",
    # line breaks and separators of files
    "\n", "\r", "\r\n", "\t", ",", '"', '""', "'", "\\", "\\n", "{", "}", "[", "]", ":", "#", "=", ";",
    # special tokens of every layout, and one that NFKC makes
    "</s>", "<s>", "<unk>", "<pad>", "<mask>", "<usr>", "<unused0>", "<unused9>", "<summarize>", "<sep>", "<nli>",
    "<question>", "<answer>", "<bos>", "<|endoftext|>", "<|pad|>", "<0x41>", "＜/s＞", "▁",
    # other values, other Hangul
    "NaN", "null", "true", "0", "안녕", "서울은", "뷁", "ㅠㅠ", "😂", "\u1112\u1161\u11ab", "國", " ", "참", "entailment",
]  # fmt: skip

texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=6).map("".join)

numbers = (
    st.integers()
    | st.integers(10**18, 10**30)
    | st.floats()
    | st.sampled_from([0, 1, 2, 2.0, -1, 10**400, float("nan"), float("inf"), -0.0])
)

json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(texts | st.sampled_from(["text", "answer_start"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def is_writable(text: str) -> bool:
    """Whether ``text`` has neither NUL nor half of a surrogate pair: what the project promises to keep as it is."""
    return re.search("[\0\ud800-\udfff]", text) is None


class Hang(BaseException):
    """Time is up. No OSError like TimeoutError, which readers catch."""


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Fail where the body takes longer: a hang is a defect like any other."""

    def fail(*_: Any) -> None:
        raise Hang(f"not done within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def growth(call: Callable[[str], Any], piece: str, times: int) -> float:
    """How much longer ``call`` computes on eight times the text, ``piece`` over and over: 8 where that is in proportion to
    its length, 64 where a regular expression tries every end from every beginning.
    """

    def seconds(number: int) -> float:
        text, started = piece * number, time.process_time()
        call(text)
        return time.process_time() - started

    return seconds(8 * times) / max(seconds(times), 0.004)


def fuzz(examples: int, **strategies: st.SearchStrategy) -> Callable[[Callable[..., None]], None]:
    """Run the decorated property at once on ``examples`` examples, the same ones in every run."""
    chosen = settings(
        max_examples=examples, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip

    def run(check: Callable[..., None]) -> None:
        with deadline(120 + 2 * examples):
            chosen(given(**strategies)(check))()

    return run


def rows_or_error(read: Callable[[], Any], *places: str) -> tuple[Any, str]:
    """What ``read`` returns and "", or None and its error: one line that begins with one of ``places``."""
    try:
        return read(), ""
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    assert message.startswith(places), message
    return None, message
