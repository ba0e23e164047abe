"""The rows of a run: files, the bundled sample or the Hub -> a DatasetDict with the task's columns -> examples."""

from __future__ import annotations

import hashlib
import logging
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tasks.base import Conversation, Example, Part, Separator, Source, Task
from tasks.errors import RowError, UserError, skip_counts
from tasks.preparing.notices import say_notices
from tasks.reading.columns import Loaded, columns_of
from tasks.reading.sources import SPLITS, DataSource, find_source

if TYPE_CHECKING:
    import datasets

    from tasks.arguments.data import DataArguments

logger = logging.getLogger(__name__)

#: Rows that are formatted, and encoded, at a time.
SLICE = 1000


def load_raw_datasets(
    task: Task,
    data_args: DataArguments,
    *,
    seed: int,
    splits: tuple[str, ...],
    source: DataSource | None = None,
    counts: dict[str, Counter[str]] | None = None,
) -> datasets.DatasetDict:
    """Read the ``splits`` (of train, validation, test) that the caller needs.

    Every split has ``id`` (the data's id or guid, else ``train-0``; a repeated one gets ``#2``), ``where`` (file and
    row, for messages) and the task's columns under the task's names. ``test`` exists only where --test_file is given; a
    target column that it lacks is None in every row. The caps take the first rows. ``source`` is that of ``find_source``,
    where it has been found already.

    Where the source has no validation split, a random share of train becomes it. The share depends on ``seed`` and the rows
    alone; rows with the same first column (a premise or context with several hypotheses or questions) stay together, in NFC
    or not. The caps draw from what is left, by ``seed`` too. ``counts`` gets what was counted while each split was read.

    Raises:
        UserError: two sources at once, a source that cannot be read, too few rows, or data that does not fit the task.
    """
    import datasets

    source = source or find_source(task, data_args, splits)
    loaded = {split: source.load(split) for split in splits if split in source.splits}
    rows: dict[str, Sequence[int]] = {split: range(len(part.data)) for split, part in loaded.items()}
    if "validation" in splits and "validation" not in source.splits and "train" in source.splits:
        loaded["validation"] = loaded["train"] if "train" in loaded else source.load("train")
        shares = share_rows(task, loaded["validation"].data, data_args.validation_split, seed)
        rows |= {split: share for split, share in shares.items() if split in loaded}
        if "train" in loaded:  # what was counted of the file is told once
            loaded["validation"] = replace(loaded["train"], counts=Counter())
    if counts is not None:
        counts |= {split: +part.counts for split, part in loaded.items()}
    caps = {"train": data_args.max_train_samples}
    return datasets.DatasetDict(
        {
            split: _finish(task, loaded[split], split, rows[split], caps.get(split, data_args.max_eval_samples), seed)
            for split in SPLITS
            if split in loaded
        }
    )


def share_rows(task: Task, data: datasets.Dataset, share: float, seed: int) -> dict[str, list[int]]:
    """Row numbers of train, in order, and of validation, in the order of the draw."""
    column = task.input_columns[0].name
    groups: dict[Any, list[int]] = {}
    # In batches: datasets iterates a column of the whole many times as slowly.
    batches = data.select_columns([column]).iter(batch_size=1000)
    for number, value in enumerate(value for batch in batches for value in batch[column]):
        # Texts are long and digests short. A row without a value is a group of its own.
        key = number if value is None else digest_of(value)
        groups.setdefault(key, []).append(number)
    if len(groups) < 2:
        raise UserError(
            f"the rows of train ({len(data)}) hold one {column!r} between them, and validation needs one of its own; "
            "give more rows, or --validation_file"
        )
    # Python guarantees the sequence of random() for a seed, not that of shuffle().
    generator = random.Random(seed)
    order = sorted(groups.values(), key=lambda group: generator.random())
    size = min(max(round(len(data) * share), 1), len(data) - 1)
    validation: list[int] = []
    for group in order:
        if len(validation) + len(group) <= size:
            validation += group
    if not validation:  # every group is larger than the share
        validation = min(order, key=len)
    taken = set(validation)
    return {"train": [number for number in range(len(data)) if number not in taken], "validation": validation}


def _finish(task: Task, loaded: Loaded, split: str, rows: Sequence[int], limit: int | None, seed: int) -> datasets.Dataset:
    """``limit`` of ``rows`` of the loaded split, in their order, with ids: a file may be sorted by label."""
    if limit is not None and limit < len(rows):
        logger.info("%s: %d of %d rows, drawn by --seed %d", split, limit, len(rows), seed)
        generator = random.Random(seed)
        drawn = sorted(range(len(rows)), key=lambda place: generator.random())[:limit]
        rows = [rows[place] for place in sorted(drawn)]
    # The column is made for all rows and the selection comes last, since adding to a selection would copy it to disk.
    ids: list[str | None] = [None] * len(loaded.ids)
    seen: set[str] = set()
    repeats: dict[str, int] = {}
    for position, number in enumerate(rows):
        own = name = loaded.ids[number] or f"{split}-{position}"
        while name in seen:
            repeats[own] = repeats.get(own, 1) + 1
            name = f"{own}#{repeats[own]}"
        seen.add(name)
        ids[number] = name
    data = loaded.data.add_column("id", ids).select(rows)
    return data.select_columns(["id", "where", *(column.name for column in columns_of(task))])


def load_examples(
    task: Task, data_args: DataArguments, *, seed: int, splits: tuple[str, ...]
) -> tuple[dict[str, list[Example]], dict[str, dict[str, int]]]:
    """The examples of each split that is there, and counts of rows used and skipped.

    Raises:
        UserError: whatever is wrong with files, columns or rows, with file and row.
    """
    examples: dict[str, list[Example]] = {}
    counts: dict[str, dict[str, int]] = {}
    found: dict[str, Counter[str]] = {}
    for split, rows in load_raw_datasets(task, data_args, seed=seed, splits=splits, counts=found).items():
        examples[split], skipped = format_examples(task, rows, data_args.skip_bad_rows)
        notes = Counter(note for example in examples[split] for note in example.notes)
        counts[split] = dict(Counter(rows=len(examples[split])) + skipped + found[split] + notes)
        examples[split] = [each for example in examples[split] for each in example.answers()]
    say_notices(task, counts)
    return examples, counts


def row_error(row: dict[str, Any], error: RowError) -> RowError:
    """The error of a row with the place of the row in front: ``train.csv line 12: column 'text' is empty``."""
    return RowError(f"{row['where']}: {error}", error.kind)


def format_examples(
    task: Task, dataset: Iterable[dict[str, Any]], skip_bad_rows: bool
) -> tuple[list[Example], Counter[str]]:
    """The example of each row, and the ``skip_counts``.

    Raises:
        UserError: the task refuses a row and ``skip_bad_rows`` is off, or no row is left.
    """
    skipped: list[RowError] = []
    examples = list(format_rows(task, dataset, skip_bad_rows, skipped))
    if not examples:
        reason = f"; the first problem: {skipped[0]}" if skipped else ""
        raise UserError(f"none of {len(skipped)} rows can be used{reason}")
    return examples, skip_counts(skipped)


def format_rows(
    task: Task, rows: Iterable[dict[str, Any]], skip_bad_rows: bool, skipped: list[RowError] | None = None
) -> Iterator[Example]:
    """Yield each row's Example. A bad row raises its UserError; with ``skip_bad_rows`` it is added to ``skipped``."""
    for row in rows:
        try:
            yield task.format(row)
        except RowError as error:
            problem = row_error(row, error)
            if not skip_bad_rows:
                raise problem from None
            if skipped is not None:
                skipped.append(problem)


@dataclass(frozen=True)
class FormattedRows(Sequence[Example]):
    """The examples of a dataset's rows, formatted when they are asked for: all of them in turn, or those of a slice.

    Rows that the task refuses are left out; without ``skip_bad_rows`` the first of them is raised as a UserError.
    ``skipped`` are the errors of the slice that was read last.
    """

    task: Task
    rows: datasets.Dataset
    skip_bad_rows: bool
    skipped: list[RowError] = field(default_factory=list)

    def __len__(self) -> int:
        """Rows, with those that will be skipped."""
        return len(self.rows)

    def __getitem__(self, place: slice) -> list[Example]:
        columns = self.rows[place]
        rows = (dict(zip(columns, values)) for values in zip(*columns.values()))
        self.skipped.clear()
        return list(format_rows(self.task, rows, self.skip_bad_rows, self.skipped))

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), SLICE):
            yield from self[start : start + SLICE]


def digest_of(*texts: Any) -> bytes:
    """8 bytes that are the same for the same texts, in NFC and with white space collapsed; other values by their repr.

    Two of 650,000 different texts have the same ones with a probability of 1e-8.
    """
    plain = (" ".join(unicodedata.normalize("NFC", text).split()) if isinstance(text, str) else repr(text) for text in texts)
    return hashlib.blake2b("\0".join(plain).encode(errors="surrogatepass"), digest_size=8).digest()


def examples_to_json(examples: Iterable[Example]) -> list[dict[str, Any]]:
    """The examples as JSON values, for ``examples_from_json``."""

    def plain(part: Part) -> Any:
        return vars(part) if isinstance(part, (Source, Conversation)) else [part] if isinstance(part, Separator) else part

    return [vars(example) | {"prompt": [plain(part) for part in example.prompt]} for example in examples]


def examples_from_json(rows: Iterable[dict[str, Any]]) -> list[Example]:
    """The examples of ``examples_to_json``, after JSON has made lists of tuples."""

    def part(value: Any) -> Part:
        if isinstance(value, dict) and "messages" in value:
            return Conversation(tuple(map(tuple, value["messages"])))
        if isinstance(value, dict):
            return Source(value["text"], value["keep"] and tuple(value["keep"]), value["windows"])
        return Separator(value[0]) if isinstance(value, list) else value

    return [
        Example(**row | {"prompt": tuple(map(part, row["prompt"])), "references": tuple(row["references"]), "notes": ()})
        for row in rows
    ]
