"""Which rows are the same input."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.preparing.splits import digest_of, load_raw_datasets
from tasks.preparing.tables import keys_of
from tests.helpers.task_rows import WITH_SAMPLE

TEXT = "민준이는 도서관에서 책을 빌렸다."


@pytest.mark.parametrize(
    "other", [unicodedata.normalize("NFD", TEXT), f" {TEXT}\n", TEXT.replace(" ", "\u3000"), TEXT.replace(" ", " \t")]
)
def test_spelling_and_white_space_make_no_other_text(other):
    assert other != TEXT
    assert digest_of(other) == digest_of(TEXT)
    assert len(digest_of(other)) == 8


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((TEXT,), (TEXT.replace(" ", ""),)),  # where words end is part of a text
        ((TEXT,), (TEXT, "")),
        (("가 나", "다"), ("가", "나 다")),
        (("\ud800",), ("\ud801",)),
    ],
)
def test_other_texts_are_others(one, other):
    assert digest_of(*one) != digest_of(*other)


@pytest.mark.parametrize("name", WITH_SAMPLE)
def test_each_input_column_counts(name):
    task = get_task(name)
    row = load_raw_datasets(task, DataArguments(sample_data=True), seed=42, splits=("train",))["train"][0]

    def changed(value):
        if isinstance(value, str):
            return f"{value} {TEXT}"
        first, *others = value  # messages
        return [first | {"content": changed(first["content"])}, *others]

    others = [row | {column.name: changed(row[column.name])} for column in task.input_columns]
    keys = keys_of([task.format(values) for values in (row, *others, row | {"id": "another"})])
    assert keys.dtype == np.uint64
    assert keys[0] == keys[-1]
    assert len(set(keys)) == 1 + len(task.input_columns)


@pytest.mark.parametrize(("name", "target", "values"), [("nli", "label", ["참", "모순"]), ("summarize", "summary", "가나")])
def test_the_target_does_not_count(name, target, values):
    task = get_task(name)
    row = task.usage_example | {"id": "1"}
    assert len(set(keys_of([task.format(row | {target: value}) for value in values]))) == 1
