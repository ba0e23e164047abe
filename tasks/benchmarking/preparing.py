"""The variants of ``prepare``: from formatted rows to token ids."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.base import Example, Separator
from tasks.benchmarking.machine import memory_figures
from tasks.benchmarking.workspace import Workspace
from tasks.training.encoding import encode


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Rows/second of one process (one thread: TOKENIZERS_PARALLELISM is off on both sides), after 1,000 uncounted rows."""
    work = Workspace.open(job)
    rows = list(itertools.islice(itertools.cycle(work.examples["train"]), job["rows"]))
    WAYS[job["way"]](work, rows[:1000])
    started = time.perf_counter()
    WAYS[job["way"]](work, rows)
    seconds = time.perf_counter() - started
    return memory_figures() | {"rows_per_second": len(rows) / seconds, "rows": len(rows), "seconds": seconds}


def _ours(work: Workspace, rows: Sequence[Example]) -> Any:
    return encode(work.encoder, rows, "train", defaultdict(dict))


def _bare(work: Workspace, rows: Sequence[Example]) -> Any:
    return [work.tokenizer(texts, add_special_tokens=False).input_ids for texts in _calls(rows)]


def _bare_backend(work: Workspace, rows: Sequence[Example]) -> Any:
    encode_texts = work.tokenizer.backend_tokenizer.encode_batch_fast
    return [[text.ids for text in encode_texts(texts, add_special_tokens=False)] for texts in _calls(rows)]


def _calls(rows: Sequence[Example]) -> Iterator[list[str]]:
    """The texts of 1,000 rows at a time: the parts of their prompts but separators, and their completions."""
    for start in range(0, len(rows), 1000):
        texts = []
        for row in rows[start : start + 1000]:
            texts += [getattr(part, "text", part) for part in row.prompt if not isinstance(part, Separator)]
            texts.append(row.completion)
        yield texts


WAYS = {"ours": _ours, "bare": _bare, "bare_backend": _bare_backend}
