"""The variants of ``prepare``: from formatted rows to token ids."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from tasks.base import Example, Separator
from tasks.benchmarking.running import row_figures
from tasks.benchmarking.workspace import Workspace
from tasks.preparing.encoding import encode
from tasks.preparing.parallel import ordered_map


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Rows/second of the job's processes (one thread each: TOKENIZERS_PARALLELISM is off), after 1,000 uncounted rows."""
    work = Workspace(job)
    rows = list(itertools.islice(itertools.cycle(work.examples["train"]), job["rows"]))
    METHODS[job["method"]](work, rows[:1000])
    started = time.perf_counter()
    METHODS[job["method"]](work, rows)
    return row_figures(len(rows), time.perf_counter() - started)


def _ours(work: Workspace, rows: Sequence[Example]) -> Any:
    return encode(work.encoder, rows, "train", defaultdict(dict), processes=work.job["processes"])


def _bare(work: Workspace, rows: Sequence[Example]) -> Any:
    return _in_calls(lambda texts: len(work.tokenizer(texts, add_special_tokens=False).input_ids), work, rows)


def _bare_backend(work: Workspace, rows: Sequence[Example]) -> Any:
    encode_texts = work.tokenizer.backend_tokenizer.encode_batch_fast
    return _in_calls(lambda texts: len([text.ids for text in encode_texts(texts, add_special_tokens=False)]), work, rows)


def _in_calls(tokenize: Callable[[list[str]], int], work: Workspace, rows: Sequence[Example]) -> int:
    """Tokenize the texts of 1,000 rows a call: prompts without separators, and completions. No ids are sent back."""

    def call(start: int) -> int:
        texts = []
        for row in rows[start : start + 1000]:
            texts += [getattr(part, "text", part) for part in row.prompt if not isinstance(part, Separator)]
            texts.append(row.completion)
        return tokenize(texts)

    return sum(ordered_map(call, range(0, len(rows), 1000), work.job["processes"]))


METHODS = {"ours": _ours, "bare": _bare, "bare_backend": _bare_backend}
