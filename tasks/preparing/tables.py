"""From examples to the Arrow tables that training reads, in one process or several."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tasks.base import BOS, Example
from tasks.errors import UserError, skip_counts
from tasks.preparing.encoding import COUNTS, IGNORE, Encoder
from tasks.preparing.splits import SLICE, digest_of
from tasks.progress import progress

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from datasets import Dataset

#: Slices a process that may be ahead of the one in hand: enough to keep all busy, few enough to hold in memory.
AHEAD = 4

_function: Callable[[Any], Any]


class Encoded(NamedTuple):
    """One split: training rows with their counts, the ``keys_of`` its examples, and the examples with ``prompt_ids``.

    The column ``id`` of the rows says which example a row came from; no model sees it.
    """

    rows: Dataset
    counts: dict[str, int]
    keys: np.ndarray
    examples: list[Example]


def encode(
    encoder: Encoder,
    examples: Sequence[Example],
    split: str,
    *,
    processes: int = 1,
    path: Path | None = None,
    measured: bool = False,
) -> Encoded:
    """Encode all ``examples``; the result is the same for every number of ``processes``.

    With ``path`` the rows are written to that Arrow file and memory-mapped instead of held in memory. A slice of
    ``examples`` may be shorter than requested: skipped rows are left out. With ``measured`` the examples will be predicted
    too: their prompts have to fit, and the result has them.

    Raises:
        UserError: nothing is left to learn from, or a prompt does not fit.
    """
    import pyarrow as pa
    from datasets import Dataset
    from datasets.fingerprint import generate_random_fingerprint

    totals: Counter[str] = Counter()
    tables: list[pa.Table] = []
    keys: list[np.ndarray] = []
    kept: list[Example] = []
    numbers = pa.list_(pa.int32())
    schema = pa.schema({"id": pa.string(), "input_ids": numbers, "labels": numbers})
    writer = pa.ipc.new_stream(str(path), schema) if path else None
    store = writer.write_table if writer else tables.append
    work = partial(_encode_slice, encoder, examples, measured)
    with writer or nullcontext(), progress(len(examples), f"encoding {split}") as bar:
        for table, counts, slice_keys, part in ordered_map(work, range(0, len(examples), SLICE), processes):
            store(table)
            totals.update(counts)
            keys.append(slice_keys)
            kept += part
            bar.update(min(SLICE, len(examples) - bar.n))
        if not totals["tokens"]:
            raise UserError(
                f"none of the {len(examples)} {split} rows has anything to learn within max_length {encoder.max_length}; "
                "raise --max_length, or look at the rows"
            )
    # Without a fingerprint the whole table would be pickled to get one.
    fingerprint = generate_random_fingerprint()
    rows = Dataset.from_file(str(path)) if path else Dataset(pa.concat_tables(tables), fingerprint=fingerprint)
    counts = {name: totals[name] for name in dict.fromkeys((*COUNTS, *sorted(totals))) if totals[name]}
    return Encoded(rows, counts, np.concatenate(keys), kept)


def _encode_slice(
    encoder: Encoder, examples: Sequence[Example], measured: bool, start: int
) -> tuple[pa.Table, Counter[str], np.ndarray, list[Example]]:
    """``SLICE`` examples: their training rows as int32 lists, counts and keys, and the examples if they are measured."""
    import pyarrow as pa

    part = examples[start : start + SLICE]
    encoder.counts.clear()
    prompts: list[list[list[int]]] | None = [] if measured else None
    rows = encoder.training_rows(part, prompts)
    offsets = np.concatenate([[0], np.cumsum([len(row["labels"]) for row in rows])]).astype(np.int32)
    columns = {"id": pa.array([row["id"] for row in rows], pa.string())}
    for name in ("input_ids", "labels"):  # flat, since pyarrow reads nested lists a number at a time
        flat = np.fromiter(chain.from_iterable(row[name] for row in rows), np.int32, count=offsets[-1])
        columns[name] = pa.ListArray.from_arrays(offsets, flat)
    notes = Counter(note for example in part for note in example.notes)
    asked = [each for example in part for each in example.answers()]
    found = {"rows": len(part), "tokens": len(flat), "labelled_tokens": int((flat != IGNORE).sum())}
    skipped = skip_counts(getattr(examples, "skipped", ()))
    kept = [replace(example, prompt_ids=ids) for example, ids in zip(asked, prompts or ())]
    return pa.table(columns), encoder.counts + Counter(found) + skipped + notes, keys_of(asked), kept


def keys_of(examples: Sequence[Example]) -> np.ndarray:
    """uint64 [examples], the same for the same input: the prompt, or the text itself where there is no prompt.

    The target does not count: a model that has seen a question with another answer has seen it.
    """
    inputs = (
        [getattr(part, "text", part) for part in example.prompt] if example.prompt != (BOS,) else [example.completion]
        for example in examples
    )
    return np.frombuffer(b"".join(digest_of(*texts) for texts in inputs), np.uint64)


def ordered_map(function: Callable[[Any], Any], items: Iterable[Any], processes: int) -> Iterator[Any]:
    """``function(item)`` of each item, in order; an error is raised in its place. One process is this one.

    Raises:
        UserError: a process was ended from outside, most likely for want of memory.
    """
    if processes <= 1:
        yield from map(function, items)
        return
    from accelerate.utils import patch_environment

    # A forked process has the rows already; where there is no fork, function and rows are pickled once a process.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context(method), _begin, (function,))
    waiting: deque[Any] = deque()
    # The tokenizers library has to be told before the fork: its threads do not survive in a child.
    with patch_environment(TOKENIZERS_PARALLELISM="false"):
        try:
            for item in items:
                waiting.append(pool.submit(_call, item))
                if len(waiting) > AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"one of the {processes} processes that prepare the rows was ended from outside, most likely for want of "
                "memory; lower --preprocessing_num_workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(function: Callable[[Any], Any]) -> None:
    """Set a worker up. Ctrl-C reaches the whole group of processes; the parent answers it."""
    global _function  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _function = function


def _call(item: Any) -> Any:
    return _function(item)
