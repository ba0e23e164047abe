"""Labels of one's own: ``text <classification> label <eos>``, or ``text <sep> text_pair <classification> label <eos>``."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.base import CardText, Column, Example, HubDataset, Part, Separator, Source
from tasks.errors import RowError, UserError
from tasks.labels import LABEL, SEP, Labels
from tasks.text import text_of, unusable_character

CLASSIFICATION = Separator("<classification>")

#: The most labels of one model.
MOST = 1000

#: Labels that a message names.
SHOWN = 10


class Classify(Labels):
    """Which of the labels of the training data fits a text, or a pair of texts?

    Measured by accuracy and macro-F1, beside a classifier that counts pieces of words and learnt from the same rows.
    ``label_words`` has the labels of the training rows, in the order of their names (numbers by size). Until they are
    known, each stands for itself.
    """

    name = "classify"
    separators = (SEP, CLASSIFICATION)
    input_columns = (
        Column(
            "text",
            "what is to be labelled",
            ("document", "sentence", "review", "content", "comment", "본문", "문서", "문장", "리뷰", "내용", "댓글"),
            last_aliases=("title", "headline", "제목"),
        ),
    )
    optional_columns = (Column("text_pair", "a second text, where a pair is labelled"),)
    target_columns = (Column("label", "any text or number", ("labels", "category", "class", "레이블", "라벨", "분류")),)
    # Its main branch is a loading script. ClassLabels 0 negative, 1 positive.
    default_dataset = HubDataset("e9t/nsmc", None, "train", "test", "cc0-1.0", "refs/convert/parquet")
    learns_labels = True
    learned_baseline = True
    baselines = {"word counting": "단어 세기", **Labels.baselines}
    corpus_columns = ("text",)
    card = {
        "en": CardText(
            "gives a Korean text one of the labels that it was trained with",
            "Texts like those it was trained on. The label is chosen by comparing the probabilities of all labels, so "
            "there is always one.",
            (
                "It has no answer for a text that none of its labels fits: it gives one of them nevertheless.",
                "A label with few training rows is rarely given; see the figures of each label.",
            ),
        ),
        "ko": CardText(
            "한국어 글에 학습한 레이블 가운데 하나를 붙입니다",
            "학습 데이터와 비슷한 글. 모든 레이블의 확률을 비교해 고르므로 언제나 답이 있습니다.",
            (
                "맞는 레이블이 없는 글에도 레이블 하나를 붙입니다.",
                "학습 데이터에 적게 나온 레이블은 잘 고르지 않습니다. 레이블별 수치를 확인하세요.",
            ),
        ),
    }
    usage_example = {
        "text": "배우들의 연기가 좋아서 두 시간이 금방 지나갔다.",
        "text_pair": "영화가 지루하지 않았다.",  # left out where there is one text
    }

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``text <classification>``, or ``text <sep> text_pair <classification>``; a long text loses its end."""
        first = Source(text_of(row, "text"))
        if len(self.input_columns) == 1:
            return (first, CLASSIFICATION)
        return (first, SEP, text_of(row, "text_pair"), CLASSIFICATION)

    def learn_labels(self, values: Iterable[Any], label_words: str | None, label_form: str | None) -> None:
        """The labels that occur in ``values``, each with a token of its own, or with its words.

        Raises:
            UserError: there are fewer than two labels, more than a thousand, or as many as rows; ``label_words`` does not
                fit them.
        """
        counts = Counter(name for value in values if (name := name_of(value)))
        labels, rows = sorted(counts, key=_order), counts.total()
        column = self.target_columns[0].name
        way_out = f"name the column of the labels with --column_map {column}=NAME"
        if len(labels) < 2:
            what = f"all {rows:,} training rows have the label {labels[0]!r}" if labels else "no training row has a label"
            raise UserError(f"{what}, and there is nothing to learn; look at the data, or {way_out}")
        if len(labels) > MOST or (len(labels) == rows and rows > 2):
            raise UserError(
                f"the {rows:,} training rows have {len(labels):,} different labels, such as {labels[0]!r:.60}; {way_out}"
            )
        words = {label: label for label in labels} | _parse_words(label_words, labels)
        if label_words and label_form == "tokens":
            raise UserError(
                "--label_words says what stands for a label, and --label_form tokens that a token does; leave one out"
            )
        if len(set(words.values())) < len(words):
            word = Counter(words.values()).most_common(1)[0][0]
            raise UserError(f"--label_words {label_words}: {word!r} stands for two labels; give each its own")
        if label_form == "words" or label_words:
            self.label_aliases = {word: label for label, word in words.items() if word not in labels}
        else:
            words = {label: Separator(f"<label{n}>") for n, label in enumerate(labels)}
            self.separators = (*type(self).separators, *words.values())
        self.label_words = words

    def label_of(self, row: dict[str, Any]) -> str:
        """The label of a row in NFC, which may be one that no training row has. Raises RowError where there is none."""
        column = self.target_columns[0].name
        value = row.get(column)
        name = name_of(value)
        if not name:
            what = "is empty" if name == "" else f"holds {type(value).__name__} {str(value)[:40]!r}, not one label"
            problem = f"column {column!r} {what}; write a label there, or drop such rows with --skip_bad_rows"
            raise RowError(problem, "unknown_label")
        if found := unusable_character(name):
            raise RowError(f"column {column!r} holds {found}; remove it", "unusable_character")
        return self.label_aliases.get(name, name)

    def notices(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Labels that no training row has, that one row has, and that may be one.

        Raises:
            UserError: no row to measure on has a label that the model knows.
        """
        found = {s: {k.removeprefix(LABEL): n for k, n in row.items() if k.startswith(LABEL)} for s, row in counts.items()}
        said = []
        for split, row in found.items():
            unknown = [label for label in row if self.label_words and label not in self.label_words]
            if unknown and len(unknown) == len(row):
                raise UserError(
                    f"no row of {split} has a label that the model knows: they are {_listed(unknown)}, and it knows "
                    f"{_listed(self.label_words)}; write them alike"
                )
            if unknown:
                rows = sum(row[label] for label in unknown)
                said.append(
                    f"{rows:,} rows of {split} have a label that no training row has, and count as wrong: {_listed(unknown)}"
                )
        if once := [label for label, rows in found.get("train", {}).items() if rows == 1]:
            said.append(f"labels with a single training row, which will hardly be learnt: {_listed(once)}")
        alike: dict[str, list[str]] = {}
        for label in self.label_words:
            alike.setdefault("".join(label.split()).casefold(), []).append(label)
        if same := [" and ".join(map(repr, labels)) for labels in alike.values() if len(labels) > 1]:
            said.append(
                f"labels that differ only in case or spaces: {'; '.join(same[:SHOWN])}; if one is meant, write it alike"
            )
        return said

    def baseline_answers(self, examples: Sequence[Example], train: Sequence[Example] | None) -> tuple[str, list[str]]:
        """A word-counting classifier of the training rows; without them the majority label."""
        if train is None:
            return super().baseline_answers(examples, train)
        from tasks.metrics.word_counting import word_counting

        learnt = ((_text(example), example.references[0]) for example in train)
        return "word counting", word_counting(learnt, [_text(example) for example in examples])

    def baseline(self, examples: Sequence[Example], train: Sequence[Example] | None = None) -> dict[str, Any]:
        """As in every task; beside word counting the majority label's figures, as ``baseline_majority_<metric>``."""
        found = super().baseline(examples, train)
        if train is None:
            return found
        majority = super().baseline(examples)
        return found | {
            key.replace("baseline_", "baseline_majority_"): v for key, v in majority.items() if key != "baseline"
        }


def name_of(value: Any) -> str | None:
    """A label as text in NFC, white space collapsed: "" for a missing one, None for what is no label (a list, an object)."""
    if isinstance(value, (list, dict)):
        return None
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, float) and value.is_integer():  # pandas writes 2.0 where another row has no label
        value = int(value)
    return "" if value is None else unicodedata.normalize("NFC", " ".join(str(value).split()))


def _order(label: str) -> tuple[bool, float, str]:
    """Numbers by size, then other labels by their characters."""
    is_number = re.fullmatch(r"[-+]?\d+(\.\d+)?", label)
    return (not is_number, float(label) if is_number else 0.0, label)


def _parse_words(text: str | None, labels: Sequence[str]) -> dict[str, str]:
    """``"0=부정,1=긍정"`` as {label: word}. Raises UserError where it is not of that form, or a label is not in training."""
    words: dict[str, str] = {}
    for piece in text.split(",") if text else ():
        label, equals, word = (name_of(part) or "" for part in piece.partition("="))
        if not (label and equals and word):
            raise UserError(f"--label_words {text}: {piece!r} is not of the form LABEL=WORD")
        if label not in labels:
            raise UserError(
                f"--label_words {text}: no training row has the label {label!r}; the labels are {_listed(labels)}"
            )
        if label in words:
            raise UserError(f"--label_words {text}: {label!r} stands there twice; name each label once")
        words[label] = word
    return words


def _listed(labels: Iterable[str]) -> str:
    labels = list(labels)
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(f"{label!r:.60}" for label in labels[:SHOWN]) + more


def _text(example: Example) -> str:
    return " ".join(getattr(part, "text", part) for part in example.prompt if not isinstance(part, Separator))
