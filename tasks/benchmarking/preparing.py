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

    def prepare(part: Sequence[Example]) -> None:
        if job["method"] == "ours":
            encode(work.encoder, part, "train", processes=job["processes"])
        else:
            sum(ordered_map(lambda start: _tokenized(work, part, start), range(0, len(part), 1000), job["processes"]))

    prepare(rows[:1000])
    started = time.perf_counter()
    prepare(rows)
    return row_figures(len(rows), time.perf_counter() - started)


def _tokenized(work: Workspace, rows: Sequence[Example], start: int) -> int:
    """Tokenize 1,000 rows in one call: prompts without separators, and completions. The ids are not sent back."""
    texts = []
    for row in rows[start : start + 1000]:
        texts += [getattr(part, "text", part) for part in row.prompt if not isinstance(part, Separator)]
        texts.append(row.completion)
    return len(work.tokenizer(texts, add_special_tokens=False).input_ids)
