"""Example, Prediction, Task: the three shapes that travel between data, model and metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.errors import UserError

if TYPE_CHECKING:
    import numpy as np


class Separator(str):
    """A piece of a prompt that is one token of its own, such as ``<summarize>``."""


#: Stands where a sequence begins; the tokenizer's own bos (or eos, for models that have no bos) takes its place.
BOS = Separator("<bos>")


@dataclass(frozen=True)
class Source:
    """The part of a prompt that may be cut when the sequence is too long; a prompt has at most one.

    ``keep`` is the span of characters (start, end) that must survive a cut in training: the answer of a question.
    With ``windows`` a long text is not cut but read through overlapping windows, and every window is asked.
    """

    text: str
    keep: tuple[int, int] | None = None
    windows: bool = False


#: A prompt is a row of parts that are tokenised one by one, so that no token ever spans two of them.
Part = str | Separator | Source


@dataclass(frozen=True)
class Example:
    """One row, formatted: ``prompt`` is what the model reads, ``completion`` what it learns to write.

    ``references`` are the right answers for the metric: texts, or the name of a label. ``completion`` is None where a row is
    only to be predicted.
    """

    id: str
    prompt: tuple[Part, ...]
    completion: str | None = None
    references: tuple[str, ...] = ()

    @property
    def prompt_text(self) -> str:
        """The prompt as one readable string, separators included."""
        return "".join(part.text if isinstance(part, Source) else part for part in self.prompt)

    @property
    def source_text(self) -> str:
        """The text of the prompt's Source, whole; nothing where it has none."""
        return "".join(part.text for part in self.prompt if isinstance(part, Source))


@dataclass(frozen=True)
class Prediction:
    """What the model made of one example; one line of ``predictions.jsonl``.

    ``text`` is what was written, or the name of the label that was chosen; None where nothing was. ``scores`` are numbers
    about this row (log-probabilities in nats).
    """

    id: str
    prompt: str
    text: str | None
    references: tuple[str, ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """The object that stands in ``predictions.jsonl``."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "prediction": self.text,
            "references": list(self.references),
            "scores": self.scores,
        }


@dataclass(frozen=True)
class Column:
    """A column that a task reads. ``aliases`` are names that public data sets give it, read without ``--column_map``."""

    name: str
    help: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class HubDataset:
    """A data set on the Hub that a task reads when no file is named. ``validation_split`` None: a share of train."""

    id: str
    config: str | None
    train_split: str
    validation_split: str | None
    columns: tuple[str, ...]
    license: str


@dataclass(frozen=True)
class CardText:
    """What a model card says of a task in one language.

    ``does`` ends the sentence "This model ...", ``use`` is what it is meant for, ``limits`` what to beware of.
    """

    does: str
    use: str
    limits: tuple[str, ...]


class Task:
    """All there is to know about one task. The machinery reads these attributes and never asks which task it is.

    ``output_type`` follows lm-evaluation-harness: ``generate_until`` (write the completion), ``multiple_choice`` (score
    the words of ``label_words``), ``loglikelihood`` (score the text itself, and sample continuations of its beginning).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    output_type: ClassVar[str]
    separators: ClassVar[tuple[Separator, ...]] = ()
    input_columns: ClassVar[tuple[Column, ...]]  # enough to predict
    target_columns: ClassVar[tuple[Column, ...]]  # needed to train and to measure
    default_dataset: ClassVar[HubDataset]
    main_metric: ClassVar[str]
    metrics: ClassVar[dict[str, bool]] = {}  # main_metric and others for --metric_for_best_model -> is more of it better
    label_words: ClassVar[dict[str, str]] = {}  # canonical label -> the word that the model reads and writes
    max_new_tokens: ClassVar[int]  # default room for a completion, eos included
    do_sample: ClassVar[bool] = False
    extractive: ClassVar[bool] = False  # whether --extractive may ask for completions that stand in the prompt's Source
    streaming: ClassVar[bool] = False  # whether --streaming may read the training rows as they are needed
    sample_texts: ClassVar[dict[str, tuple[str, ...]]] = {}  # a bundled sample made of other samples' columns
    hub_task: ClassVar[str] = "text-generation"  # what the Hub calls the task, for the results of a model card
    card: ClassVar[dict[str, CardText]] = {}  # language of the card -> its words
    usage_example: ClassVar[dict[str, str]] = {}  # an input for the usage example of a card

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """The prompt of a row that has the input columns: the same one in training and in inference."""
        raise UserError(f"task {self.name} has no prompt")

    def input_example(self, row: dict[str, Any]) -> Example:
        """The example of a row that is only to be predicted."""
        return Example(row["id"], self.prompt(row))

    def format(self, row: dict[str, Any]) -> Example:
        """The whole example of a row that has the input and the target columns. Raises RowError on a bad row."""
        raise UserError(f"task {self.name} has no format")

    def sample_example(self, example: Example) -> Example:
        """For ``loglikelihood``: the beginning of a text, as a prompt to sample from."""
        raise UserError(f"task {self.name} takes no samples")

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The task's metrics over predictions that carry references."""
        raise UserError(f"task {self.name} has no score")

    def row_statistics(self, predictions: Sequence[Prediction]) -> list[dict[str, float]]:
        """What each row adds to the sums that ``pooled`` takes, the same keys in every row; [] where no metric is pooled."""
        return []

    def pooled(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Those metrics of ``score`` that are a function of sums over rows, elementwise: arrays [sets] to arrays [sets].

        Each element is a set of rows of its own, such as one resample of a bootstrap. NaN where a set has no such metric.
        """
        return {}

    def baseline(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The same metrics for the simplest thing one could do instead of a model, keys beginning with ``baseline_``."""
        raise UserError(f"task {self.name} has no baseline")


class RowError(UserError):
    """Something is wrong with one row. Whoever reads the rows adds the file and the row number."""


def unusable_character(text: str) -> str | None:
    """What stands in ``text`` that later stages cannot write, and where; None where all is well.

    NUL ends strings in C code further down; half of a surrogate pair cannot be written as UTF-8.
    """
    if "\0" not in text:
        try:
            text.encode()  # much faster than a search
            return None
        except UnicodeEncodeError:
            pass
    found = re.search("[\0\ud800-\udfff]", text)
    what = "a NUL character" if found.group() == "\0" else "half of a surrogate pair (such as \\ud83d)"
    return f"{what}, as character {found.start() + 1}"


def text_of(row: dict[str, Any], column: str) -> str:
    """The text in ``row[column]``.

    Raises:
        RowError: the value is missing, empty, not text, or cannot be written again. Numbers are not turned into text
            silently: a column that mixes the two is usually a spreadsheet that has eaten the text.
    """
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError(f"column {column!r} is empty; fill it, or drop such rows with --skip_bad_rows")
    if not isinstance(value, str):
        raise RowError(f"column {column!r} holds {type(value).__name__} {str(value)[:40]!r}, not text; put it in quotes")
    found = unusable_character(value)
    if found:
        raise RowError(f"column {column!r} holds {found}; remove it")
    return value
