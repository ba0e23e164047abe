"""The variants of ``prepare``: from formatted rows to token ids."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

from tasks.base import Example, Separator
from tasks.benchmarking.running import row_figures
from tasks.benchmarking.workspace import Workspace
from tasks.preparing.tables import encode, ordered_map


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Rows/second of the job's processes (one thread each: TOKENIZERS_PARALLELISM is off), after 1,000 uncounted rows."""
    work = Workspace(job)
    rows = list(itertools.islice(itertools.cycle(work.examples["train"]), job["rows"]))
    prepare = _encode if job["method"] == "ours" else _tokenize
    prepare(work, rows[:1000])
    started = time.perf_counter()
    prepare(work, rows)
    return row_figures(len(rows), time.perf_counter() - started)


def _encode(work: Workspace, rows: Sequence[Example]) -> None:
    encode(work.encoder, rows, "train", processes=work.job["processes"])


def _tokenize(work: Workspace, rows: Sequence[Example]) -> None:
    """Tokenize the texts of 1,000 rows a call: prompts without separators, and completions. No ids are sent back."""
    tokenizer, backend = work.tokenizer, work.tokenizer.backend_tokenizer

    def call(start: int) -> int:
        texts = []
        for row in rows[start : start + 1000]:
            texts += [getattr(part, "text", part) for part in row.prompt if not isinstance(part, Separator)]
            texts.append(row.completion)
        if work.job["method"] == "bare":
            return len(tokenizer(texts, add_special_tokens=False).input_ids)
        return len([text.ids for text in backend.encode_batch_fast(texts, add_special_tokens=False)])

    sum(ordered_map(call, range(0, len(rows), 1000), work.job["processes"]))
