"""Example, Prediction, Task: the three shapes that travel between data, model and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from tasks.errors import UserError


class Separator(str):
    """A piece of a prompt that is one token of its own, such as ``<summarize>``."""


#: The figure of a run of several tasks: the mean of their normalized scores.
MEAN = "mean_normalized_score"

#: Stands where a sequence begins; the tokenizer's own bos (or eos, for models that have no bos) takes its place.
BOS = Separator("<bos>")


@dataclass(frozen=True)
class Source:
    """The part of a prompt that is truncated when the sequence is too long; a prompt has at most one.

    ``keep`` is the span of characters (start, end) that survives truncation in training, such as an answer. With ``windows``
    a long text is read in overlapping windows instead.
    """

    text: str
    keep: tuple[int, int] | None = None
    windows: bool = False


@dataclass(frozen=True)
class Conversation:
    """A prompt that the tokenizer's chat template writes, as a whole. Where it is too long, its oldest turns are left out.

    ``messages`` are (role, text): at most one ``system``, first, then ``user`` and ``assistant`` in turn, a user's last.
    """

    messages: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """All turns for people to read, a line each."""
        return "\n".join(f"{role}: {text}" for role, text in self.messages)


#: A prompt is a row of parts that are tokenised one by one, so that no token ever spans two of them.
Part = str | Separator | Source | Conversation


@dataclass(frozen=True)
class Example:
    """One row, formatted: ``prompt`` is what the model reads, ``completion`` what it learns to write.

    ``completion`` is None if the row is only to be predicted; a ``divisible`` one may become several sequences.
    ``references`` are the right answers for the metric: texts, or the name of a label. ``notes`` are names under which the
    row is counted in all_results.json. ``prompt_ids`` are the token ids of the prompt, one list per window, once the Encoder
    has made them.
    """

    id: str
    prompt: tuple[Part, ...]
    completion: str | None = None
    references: tuple[str, ...] = ()
    divisible: bool = False
    prompt_ids: list[list[int]] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def prompt_text(self) -> str:
        """The prompt as one readable string, separators included."""
        return "".join(getattr(part, "text", part) for part in self.prompt)

    @property
    def source_text(self) -> str:
        """The text of the prompt's Source, whole; nothing where it has none."""
        return "".join(part.text for part in self.prompt if isinstance(part, Source))

    @property
    def conversation(self) -> tuple[tuple[str, str], ...]:
        """The (role, text) of a prompt that is a Conversation; none of others."""
        return self.prompt[0].messages if self.prompt and isinstance(self.prompt[0], Conversation) else ()

    @property
    def group(self) -> str:
        """What alike rows share, by which intervals draw them: the text of the Source, or the first question."""
        return self.source_text or next((text for role, text in self.conversation if role == "user"), "")

    def answers(self) -> list[Example]:
        """What is measured of the row: itself, and of a conversation each answer after what was said before it."""
        whole = (*self.conversation, ("assistant", self.completion or ""))
        places = [i for i, (role, _) in enumerate(whole) if role == "assistant"]
        if len(places) == 1:
            return [self]
        turns = [(f"{self.id}/{n}", (Conversation(whole[:i]),), whole[i][1]) for n, i in enumerate(places, 1)]
        return [replace(self, id=name, prompt=prompt, completion=text, references=(text,)) for name, prompt, text in turns]


@dataclass(frozen=True)
class Prediction:
    """The prediction of one example, a line of ``predictions.jsonl``: the generated text, or the name of the chosen label.

    ``scores`` are numbers about this row (log-probabilities in nats).
    """

    id: str
    prompt: str
    text: str | None
    references: tuple[str, ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """The object that stands in ``predictions.jsonl``."""
        row = {"id": self.id, "prompt": self.prompt, "prediction": self.text}
        return row | {"references": list(self.references), "scores": self.scores}


@dataclass(frozen=True)
class Column:
    """A column that a task reads. ``aliases`` are names that public data sets give it, read without ``--column_map``.

    ``last_aliases`` are read where nothing else fits: a title can be a summary. In a column of ``sentences`` a list is one
    text. ``read`` makes one shape of the shapes that a value comes in; it also gets the value of the first column that is
    called as ``beside`` says, or None. An ``optional`` one is None in every row where the data lacks it.
    """

    name: str
    help: str
    aliases: tuple[str, ...] = ()
    last_aliases: tuple[str, ...] = ()
    sentences: bool = False
    beside: tuple[str, ...] = ()
    read: Callable[[Any, Any], Any] | None = None
    optional: bool = False


@dataclass(frozen=True)
class HubDataset:
    """A data set on the Hub that a task reads when no file is named. ``validation_split`` None: a share of train.

    ``revision`` is a branch, where main is no data that is read.
    """

    id: str
    config: str | None
    train_split: str
    validation_split: str | None
    license: str
    revision: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric's id on the Hub and its name in English and Korean; ``higher`` is better, or None to choose no checkpoint.

    ``most`` is the best value where higher is better; where lower is, that is 0.
    """

    hub: str
    en: str
    ko: str
    higher: bool | None = None
    most: float = 1.0


@dataclass(frozen=True)
class CardText:
    """What a model card says of a task in one language; ``does`` ends the sentence "This model ..."."""

    does: str
    use: str
    limits: tuple[str, ...]


class Task:
    """All there is to know about one task. The machinery reads these attributes and never asks which task it is.

    Each run has its own object (``tasks.get_task``), on which what the data decides is set, such as the labels.
    ``output_type`` follows lm-evaluation-harness: ``generate_until`` (write the completion), ``multiple_choice`` (score the
    words of ``label_words``), ``loglikelihood`` (score the text itself, and continue its beginning by samples).
    """

    name: str
    prefix: str = ""  # where one of several tasks of a run, what its figures, splits and files begin with: nli_
    version: ClassVar[int] = 1
    output_type: ClassVar[str]
    separators: tuple[Separator, ...] = ()
    input_columns: tuple[Column, ...]  # enough to predict
    optional_columns: ClassVar[tuple[Column, ...]] = ()  # further ones, which a run reads where --column_map names them
    target_columns: ClassVar[tuple[Column, ...]]  # needed to train and to measure
    default_dataset: ClassVar[HubDataset]
    main_metric: ClassVar[str]
    metrics: dict[str, Metric] = {}  # the figures of all_results.json that have a name of their own
    baselines: ClassVar[dict[str, str]] = {}  # baseline of all_results.json -> its name in Korean
    column_map: str | None = None  # what the data of a trained model called the columns, as --column_map says it
    label_words: dict[str, str] = {}  # canonical label -> the word, or the separator, that the model reads and writes
    learns_labels: ClassVar[bool] = False  # whether label_words come from the training rows, by learn_labels
    head: bool = False  # whether a classification head of the model answers with a label, and no label is written
    max_new_tokens: ClassVar[int]  # default room for a completion, eos included
    temperature: float | None = None  # by which a trained model's scores of labels are divided, once it was fitted
    do_sample: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = False  # whether a run makes its model instead of loading one
    grouped_by: ClassVar[str | None] = None  # the column of Example.group, where rows that share it are alike
    learned_baseline: ClassVar[bool] = False  # whether baseline_answers reads the training examples
    extractive: ClassVar[bool] = False  # whether --extractive may ask for completions that stand in the prompt's Source
    chat_template: ClassVar[str | None] = None  # of the tokenizer: makes the task's prompt of messages, for other programs
    conversational: ClassVar[bool] = False  # whether prompts are Conversations, which a model's own chat template may write
    streaming: ClassVar[bool] = False  # whether --streaming may read the training rows as they are needed
    corpus_columns: ClassVar[tuple[str, ...]] = ()  # columns of its bundled sample that `scratch` also learns from
    sample_texts: dict[str, tuple[str, ...]] = {}  # a bundled sample made of other samples' columns
    page: ClassVar[str]  # what scripts/demo.py shows, by its name in tasks/showing/kinds.py
    hub_task: ClassVar[str] = "text-generation"  # what the Hub calls the task, for the results of a model card
    card: ClassVar[dict[str, CardText]] = {}  # language of the card -> its words
    usage_example: ClassVar[dict[str, str]] = {}  # an input for the usage example of a card

    @property
    def parts(self) -> tuple[Task, ...]:
        """The tasks of a run: this one; a mixture has several."""
        return (self,)

    def use_columns(self, column_map: str | None) -> None:
        """Read those ``optional_columns``, too, that a ``--column_map`` names."""
        named = {piece.partition("=")[0].strip() for piece in (column_map or "").split(",")}
        self.input_columns += tuple(c for c in self.optional_columns if c.name in named and c not in self.input_columns)

    def learn_labels(self, values: Iterable[Any], label_words: str | None, label_form: str | None) -> None:
        """Set ``label_words`` from the label column of the training rows and what the two flags say."""
        raise UserError(f"task {self.name} has labels of its own")

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

    def notices(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """What a person should know of the rows before training, from the counts of each split (``Example.notes``)."""
        return []

    def metric(self) -> Any:
        """The LocalMetric of tasks/metrics/ that all figures follow from, imported when it is needed: that takes seconds."""
        raise UserError(f"task {self.name} has no metric")

    def metric_inputs(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """Predictions as arguments of the metric: texts, beside the right texts of each row."""
        return {
            "predictions": [prediction.text or "" for prediction in predictions],
            "references": [list(prediction.references) for prediction in predictions],
        }

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The task's figures over predictions that carry references."""
        return self.metric().compute(**self.metric_inputs(predictions))

    def row_scores(self, predictions: Sequence[Prediction]) -> list[dict[str, float]]:
        """The figures of each row by itself, for its line of predictions.jsonl."""
        return self.metric().each(**self.metric_inputs(predictions))

    def intervals(
        self, predictions: Sequence[Prediction], seed: int, groups: Sequence[str] | None = None
    ) -> dict[str, list[float]]:
        """The 95 % interval [low, high] over the rows, or ``groups`` of them, of each figure that follows from sums."""
        return self.metric().intervals(seed, groups, **self.metric_inputs(predictions))

    def calibration(self, predictions: Sequence[Prediction], seed: int) -> dict[str, Any] | None:
        """A temperature for the scores of labels, and how well it calibrates; None without labels, or for few rows."""
        return None

    def probabilities(self, scores: Mapping[str, Any]) -> dict[str, float]:
        """The probability of each label from a prediction's ``scores``, the highest first; {} without labels."""
        return {}

    def baseline_answers(self, examples: Sequence[Example], train: Sequence[Example] | None) -> tuple[str, list[str]]:
        """The name and the answers of the simplest thing one could do instead of a model, for ``baseline``."""
        raise UserError(f"task {self.name} has no baseline")

    def baseline(self, examples: Sequence[Example], train: Sequence[Example] | None = None) -> dict[str, Any]:
        """The baseline's name, and its figures under names that begin with ``baseline_``.

        ``train`` are the training rows, None where there are none to read, as in evaluate_model.py.
        """
        name, texts = self.baseline_answers(examples, train)
        answers = [Prediction(example.id, "", text, example.references) for example, text in zip(examples, texts)]
        scores = {f"baseline_{key}": value for key, value in self.score(answers).items() if isinstance(value, float)}
        return {"baseline": name} | scores
