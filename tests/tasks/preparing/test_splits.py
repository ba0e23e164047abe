"""From files, the sample or the Hub to a DatasetDict with the task's columns, and from that to examples."""

from __future__ import annotations

import importlib
import json
import os
import time
import unicodedata
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import TASKS, get_task
from tasks.arguments.data import DataArguments
from tasks.base import Column, Example, HubDataset, Task
from tasks.errors import RowError, UserError
from tasks.preparing.splits import format_examples, load_raw_datasets, row_error
from tasks.reading import sources
from tasks.reading.columns import columns_of
from tasks.reading.hub_data import commit_of, load_split
from tasks.text import text_of
from tests.helpers.task_rows import TRAINED, rows_of


class Pair(Task):
    """Two texts and a label, with a dataset on the Hub."""

    name = "pair"
    input_columns = (Column("premise", "what is known", ("sentence1",)), Column("hypothesis", "what may follow"))
    target_columns = (Column("label", "yes or no", ("gold_label",)),)
    default_dataset = HubDataset("klue/klue", "nli", "train", "validation", "cc-by-sa-4.0")

    def format(self, row):
        """Refuses empty text and unknown labels."""
        premise = text_of(row, "premise")
        if row["label"] not in ("yes", "no"):
            raise RowError(f"unknown label {row['label']!r}")
        return Example(row["id"], (premise,), row["label"])


class Answers(Task):
    """Question answering, with no dataset of its own."""

    name = "answers"
    input_columns = (Column("context", "the text"), Column("question", "the question"))
    target_columns = (Column("answers", "texts and offsets", ("answer",)),)


class Plain(Task):
    """One column of text, called something else than in txt files."""

    name = "plain"
    input_columns = (Column("sentence", "the text"),)
    target_columns = ()
    default_dataset = HubDataset("wikimedia/wikipedia", "20231101.ko", "train", None, "cc-by-sa-3.0")


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    """Every test works in its own folder, so that paths in messages are short and literal."""
    monkeypatch.chdir(tmp_path)


def load(task=None, *, seed=42, splits=("train", "validation", "test"), **given) -> datasets.DatasetDict:
    return load_raw_datasets(task or Pair(), DataArguments(**given), seed=seed, splits=splits)


def message(task=None, **given) -> str:
    """The error of loading, checked to be one line."""
    with pytest.raises(UserError) as caught:
        load(task, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def jsonl(name: str, rows: list[dict]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return name


def pairs(count: int, **more) -> list[dict]:
    return [{"premise": f"전제 {i}", "hypothesis": f"가설 {i}", "label": "yes"} | more for i in range(count)]


# what a split looks like


def test_columns_ids_and_places():
    Path("train.csv").write_text("label,other,hypothesis,premise\nyes,x, 가설 ,전제\nno,x,가설 2,전제 2\n", "utf-8")
    jsonl("dev.jsonl", [{"guid": 7, "sentence1": "가", "hypothesis": "나", "gold_label": "no"}])
    jsonl("test.jsonl", [{"premise": "가", "hypothesis": "나"}])
    raw = load(train_file="train.csv", validation_file="dev.jsonl", test_file="test.jsonl")
    assert list(raw) == ["train", "validation", "test"]
    assert raw["train"].column_names == ["id", "where", "premise", "hypothesis", "label"]
    assert raw["train"].to_list() == [
        {"id": "train-0", "where": "train.csv line 2", "premise": "전제", "hypothesis": " 가설 ", "label": "yes"},
        {"id": "train-1", "where": "train.csv line 3", "premise": "전제 2", "hypothesis": "가설 2", "label": "no"},
    ]
    assert raw["validation"].to_list() == [
        {"id": "7", "where": "dev.jsonl line 1", "premise": "가", "hypothesis": "나", "label": "no"}
    ]
    assert raw["test"].to_list() == [
        {"id": "test-0", "where": "test.jsonl line 1", "premise": "가", "hypothesis": "나", "label": None}
    ]


def test_nothing_is_written_for_rows_of_files():
    jsonl("train.jsonl", pairs(30))
    assert [data.cache_files for data in load(train_file="train.jsonl").values()] == [[], []]


def test_ids_are_unique_and_never_empty():
    jsonl("a.jsonl", [row | {"id": i} for row, i in zip(pairs(5), ["a", "a", None, "", "a"], strict=True)])
    raw = load(train_file="a.jsonl", splits=("train",))
    assert raw["train"]["id"][:] == ["a", "a#2", "train-2", "train-3", "a#3"]


def test_labels_may_be_numbers_and_values_may_be_missing():
    rows = [{"premise": "가", "label": 0}, {"premise": None, "hypothesis": "나", "label": float("nan")}]
    jsonl("a.jsonl", [*rows, {"premise": "다", "hypothesis": "라", "label": 2}])
    train = load(train_file="a.jsonl", splits=("train",))["train"]
    assert train["label"][:] == ["0", None, "2"]
    assert train["premise"][:] == ["가", None, "다"]
    assert train["hypothesis"][:] == [None, "나", "라"]


def test_questions_and_answers():
    qas = [
        {"id": "q1", "question": "수도는?", "answers": [{"text": "서울", "answer_start": 0}]},
        {"id": "q2", "question": "왜?", "answers": []},
    ]
    content = {"data": [{"title": "t", "paragraphs": [{"context": "서울은 수도이다.", "qas": qas}]}]}
    Path("qa.json").write_text(json.dumps(content), "utf-8")
    train = load(Answers(), train_file="qa.json", splits=("train",))["train"]
    assert train.to_list() == [
        {
            "id": "q1",
            "where": "qa.json article 1 paragraph 1 question 1",
            "context": "서울은 수도이다.",
            "question": "수도는?",
            "answers": {"text": ["서울"], "answer_start": [0]},
        },
        {
            "id": "q2",
            "where": "qa.json article 1 paragraph 1 question 2",
            "context": "서울은 수도이다.",
            "question": "왜?",
            "answers": {"text": [], "answer_start": []},
        },
    ]


def test_txt_for_a_task_with_one_column():
    Path("a.txt").write_text("하나\n둘\n", "utf-8")
    assert load(Plain(), train_file="a.txt", splits=("train",))["train"]["sentence"][:] == ["하나", "둘"]
    assert message(train_file="a.txt") == (
        "a.txt: a txt file has one column, and the task pair needs premise, hypothesis, label; "
        "use csv, tsv, xlsx, json, jsonl or parquet"
    )


@pytest.mark.slow
def test_200_000_rows_take_seconds():
    jsonl("a.jsonl", pairs(200_000))
    start = time.perf_counter()
    raw = load(train_file="a.jsonl")
    assert (len(raw["train"]), len(raw["validation"])) == (190_000, 10_000)
    assert time.perf_counter() - start < 60


# columns


def test_column_map_wins_over_names_and_aliases():
    rows = [{"premise": "아니", "body": "전제", "sentence1": "아니", "hypothesis": "가설", "label": "no", "답": "yes"}]
    jsonl("a.jsonl", rows)
    train = load(train_file="a.jsonl", column_map=" premise=body, label=답", splits=("train",))["train"]
    assert train.to_list()[0] == {
        "id": "train-0",
        "where": "a.jsonl line 1",
        "premise": "전제",
        "hypothesis": "가설",
        "label": "yes",
    }


def test_swapped_columns():
    jsonl("a.jsonl", pairs(1))
    raw = load(train_file="a.jsonl", column_map="premise=hypothesis,hypothesis=premise", splits=("train",))
    assert (raw["train"][0]["premise"], raw["train"][0]["hypothesis"]) == ("가설 0", "전제 0")


@pytest.mark.parametrize(
    ("column_map", "expected"),
    [
        ("premise", "--column_map premise: 'premise' is not of the form premise=NAME_IN_THE_DATA"),
        ("premise=a,", "--column_map premise=a,: '' is not of the form premise=NAME_IN_THE_DATA"),
        ("premise=", "--column_map premise=: 'premise=' is not of the form premise=NAME_IN_THE_DATA"),
        (
            "body=premise",
            "--column_map body=premise: the task pair has no column 'body'; its columns are premise, hypothesis, label, "
            "and stand before the =",
        ),
        (
            "premise=a,premise=b",
            "--column_map premise=a,premise=b: 'premise' stands there twice; name each column once",
        ),
        ("premise=a,label=a", "--column_map premise=a,label=a: 'a' stands there twice; name each column once"),
        (
            "premise=body",
            "a.jsonl: no column 'body', which --column_map gives for 'premise'; the columns there are premise, "
            "hypothesis, label; correct --column_map premise=NAME",
        ),
        (
            "premise=label",
            "a.jsonl: no column 'label' (yes or no); the columns there are premise, hypothesis, label; "
            "if one of them is meant, add --column_map label=NAME",
        ),
    ],
)
def test_column_map_errors(column_map, expected):
    jsonl("a.jsonl", pairs(3))
    assert message(train_file="a.jsonl", column_map=column_map) == expected


@pytest.mark.parametrize("missing", ["premise", "label"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_missing_columns(missing, split):
    jsonl("good.jsonl", pairs(3))
    jsonl("bad.jsonl", [{k: v for k, v in row.items() if k != missing} for row in pairs(3, extra=1)])
    files = {"train_file": "good.jsonl", "validation_file": "good.jsonl", f"{split}_file": "bad.jsonl"}
    there = ", ".join(name for name in ("premise", "hypothesis", "label", "extra") if name != missing)
    text = message(**files)
    assert text.startswith(f"bad.jsonl: no column '{missing}' (")
    assert text.endswith(f"; the columns there are {there}; if one of them is meant, add --column_map {missing}=NAME")


def test_missing_input_column_of_a_test_file():
    jsonl("a.jsonl", pairs(3))
    jsonl("test.jsonl", [{"premise": "가"}])
    assert message(train_file="a.jsonl", test_file="test.jsonl").startswith("test.jsonl: no column 'hypothesis' (")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (
            "premise",
            ["가", None, "나", 12],
            "a.jsonl line 4: column 'premise' holds a number ('12'), but text in a.jsonl line 1; "
            "write the column in one type",
        ),
        (
            "label",
            [1, True],
            "a.jsonl line 2: column 'label' holds true/false ('True'), but text in a.jsonl line 1; "
            "write the column in one type",
        ),
        (
            "label",
            ["a", ["a"]],
            "a.jsonl line 2: column 'label' holds a list (\"['a']\"), but text in a.jsonl line 1; "
            "write the column in one type",
        ),
    ],
)
def test_mixed_types(column, values, expected):
    jsonl("a.jsonl", [row | {column: value} for row, value in zip(pairs(len(values)), values, strict=True)])
    assert message(train_file="a.jsonl") == expected


@pytest.mark.parametrize("culprit", [1, 2, 7, 99])
@pytest.mark.parametrize("value", [{"text": [[3]], "answer_start": [0]}, {"text": ["a"], "answer_start": [2**70]}])
def test_mixed_types_deep_inside(culprit, value):
    answers = [{"text": ["서울"], "answer_start": [0]}] * 100
    answers[culprit] = value
    jsonl("a.jsonl", [{"context": str(i), "question": "?", "answers": answer} for i, answer in enumerate(answers)])
    assert message(Answers(), train_file="a.jsonl").startswith(
        f"a.jsonl line {culprit + 1}: column 'answers' is not of the type that it has in the rows before ("
    )


# validation rows


def test_share_is_seeded_random_and_exact():
    jsonl("a.jsonl", pairs(100))
    raw = load(train_file="a.jsonl")
    # Literal, so that another platform or Python version that draws other rows is noticed.
    assert raw["validation"]["where"][:] == [f"a.jsonl line {line}" for line in (20, 2, 13, 10, 68)]
    assert raw["validation"]["id"][:] == [f"validation-{i}" for i in range(5)]
    assert raw["train"]["id"][:] == [f"train-{i}" for i in range(95)]
    lines = [int(where.split()[-1]) for where in raw["train"]["where"][:]]
    assert lines == sorted(lines)
    assert sorted(raw["train"]["where"][:] + raw["validation"]["where"][:]) == sorted(
        f"a.jsonl line {i}" for i in range(1, 101)
    )
    assert load(train_file="a.jsonl")["validation"].to_list() == raw["validation"].to_list()
    assert load(train_file="a.jsonl", seed=43)["validation"]["where"][:] != raw["validation"]["where"][:]
    alone = load(train_file="a.jsonl", splits=("validation",))
    assert list(alone) == ["validation"]
    assert alone["validation"].to_list() == raw["validation"].to_list()


@pytest.mark.parametrize(("count", "share", "expected"), [(2, 0.05, 1), (2, 0.99, 1), (3, 0.99, 2), (10, 0.3, 3)])
def test_size_of_the_share(count, share, expected):
    jsonl("a.jsonl", pairs(count))
    raw = load(train_file="a.jsonl", validation_split=share)
    assert (len(raw["validation"]), len(raw["train"])) == (expected, count - expected)


def test_rows_with_the_same_premise_stay_together():
    jsonl("a.jsonl", [row | {"premise": f"전제 {i // 4}"} for i, row in enumerate(pairs(80))])
    for seed in range(5):
        raw = load(train_file="a.jsonl", seed=seed, validation_split=0.1)
        assert len(raw["validation"]) == 8
        assert not set(raw["validation"]["premise"][:]) & set(raw["train"]["premise"][:])
    assert len(load(train_file="a.jsonl", validation_split=0.01)["validation"]) == 4


def test_a_premise_in_another_spelling_stays_on_the_same_side():
    spellings = [unicodedata.normalize("NFC", "전제 {}"), unicodedata.normalize("NFD", "전제 {}"), " 전제  {}\n"]
    assert len(set(spellings)) == 3
    jsonl("a.jsonl", [row | {"premise": spellings[i % 3].format(i // 3)} for i, row in enumerate(pairs(60))])
    raw = load(train_file="a.jsonl", validation_split=0.2)
    plain = {split: {"".join(unicodedata.normalize("NFC", p).split()) for p in raw[split]["premise"]} for split in raw}
    assert {split: len(texts) for split, texts in plain.items()} == {"train": 16, "validation": 4}
    assert not plain["train"] & plain["validation"]


def test_rows_without_a_premise_are_no_group():
    jsonl("a.jsonl", pairs(20, premise=None))
    assert len(load(train_file="a.jsonl", validation_split=0.1)["validation"]) == 2


@pytest.mark.parametrize("rows", [pairs(1), pairs(20, premise="같은 전제")])
def test_too_few_rows_for_a_share(rows):
    jsonl("a.jsonl", rows)
    assert message(train_file="a.jsonl") == (
        f"the rows of train ({len(rows)}) hold one 'premise' between them, and validation needs one of its own; "
        "give more rows, or --validation_file"
    )


def test_train_alone_keeps_every_row():
    jsonl("a.jsonl", pairs(20))
    raw = load(train_file="a.jsonl", splits=("train",))
    assert list(raw) == ["train"]
    assert len(raw["train"]) == 20


def test_caps_draw_by_the_seed_and_keep_the_order():
    jsonl("a.jsonl", pairs(100))
    jsonl("test.jsonl", pairs(9))
    whole = load(train_file="a.jsonl", test_file="test.jsonl")
    raw = load(train_file="a.jsonl", test_file="test.jsonl", max_train_samples=7, max_eval_samples=3)
    assert {split: len(data) for split, data in raw.items()} == {"train": 7, "validation": 3, "test": 3}
    # Literal, so that another platform or Python version that draws other rows is noticed.
    assert raw["train"]["where"][:] == [f"a.jsonl line {line}" for line in (3, 12, 16, 24, 46, 73, 95)]
    for split, data in raw.items():
        places = [whole[split]["where"][:].index(where) for where in data["where"][:]]
        assert places == sorted(places)
    again = load(train_file="a.jsonl", max_train_samples=3)["train"]["where"][:]
    assert set(again) < set(raw["train"]["where"][:])
    assert load(train_file="a.jsonl", max_train_samples=7, seed=43)["train"]["where"][:] != raw["train"]["where"][:]
    assert len(load(train_file="a.jsonl", max_train_samples=1000)["train"]) == 95


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"validation_split": 0.0}, "--validation_split is 0.0; it must be between 0 and 1, such as 0.05"),
        ({"validation_split": 1.0}, "--validation_split is 1.0; it must be between 0 and 1, such as 0.05"),
        ({"validation_split": float("nan")}, "--validation_split is nan; it must be between 0 and 1, such as 0.05"),
        ({"max_train_samples": 0}, "--max_train_samples is 0; it must be 1 or more, or left out for all rows"),
        ({"max_eval_samples": -1}, "--max_eval_samples is -1; it must be 1 or more, or left out for all rows"),
    ],
)
def test_number_errors(given, expected):
    jsonl("a.jsonl", pairs(3))
    assert message(train_file="a.jsonl", **given) == expected


# sources


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"sample_data": True, "train_file": "a.jsonl"}, "--sample_data and --train_file"),
        ({"sample_data": True, "dataset": "klue/klue"}, "--sample_data and --dataset"),
        (
            {"validation_file": "a.jsonl", "test_file": "a.jsonl", "dataset_config": "nli"},
            "--validation_file and --test_file and --dataset_config",
        ),
    ],
)
def test_two_sources(given, flags):
    jsonl("a.jsonl", pairs(3))
    assert message(**given) == (f"{flags} cannot go together; the rows come from files, a dataset or the sample: choose one")


def test_files_that_do_not_make_a_run():
    jsonl("a.jsonl", pairs(3))
    assert message(validation_file="a.jsonl", test_file="a.jsonl") == (
        "there are no rows to train on; give --train_file beside --validation_file and --test_file"
    )
    assert message(test_file="a.jsonl", splits=("validation", "test")) == (
        "there are no rows to measure on; give --validation_file beside --test_file"
    )
    assert list(load(test_file="a.jsonl", splits=("test",))) == ["test"]
    assert list(load(validation_file="a.jsonl", splits=("validation", "test"))) == ["validation"]


def test_a_missing_test_file_is_found_before_train_is_read():
    jsonl("a.jsonl", [{"broken": 1}])
    assert message(train_file="a.jsonl", test_file="b.jsonl") == "there is no file b.jsonl; did you mean a.jsonl?"


def test_sample_data(tmp_path, monkeypatch):
    folder = tmp_path / "package" / "samples" / "pair"
    folder.mkdir(parents=True)
    jsonl(str(folder / "train.jsonl"), pairs(4))
    jsonl(str(folder / "validation.jsonl"), pairs(2))
    monkeypatch.setattr(sources, "SAMPLES", tmp_path / "package" / "samples")
    raw = load(sample_data=True, column_map="premise=body")
    assert {split: len(data) for split, data in raw.items()} == {"train": 4, "validation": 2}
    assert raw["validation"][1]["where"] == f"{folder / 'validation.jsonl'} line 2"
    other = Plain()
    assert message(other, sample_data=True) == (
        "the task plain has no bundled sample; give --train_file or --dataset instead"
    )


# the Hub


def hub(monkeypatch, result) -> list[tuple]:
    """Replace ``datasets.load_dataset`` by what returns or raises ``result``; gives the list of calls."""
    calls = []

    def load_dataset(name, config=None, revision=None, streaming=False):
        calls.append((name, config, revision))
        if isinstance(result, BaseException):
            raise result
        return result

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def hub_split(count: int, **columns) -> datasets.Dataset:
    rows = {
        "guid": [f"klue-{i}" for i in range(count)],
        "premise": [f"전제 {i}" for i in range(count)],
        "hypothesis": ["가설"] * count,
        "source": ["wiki"] * count,
        "label": [i % 3 - 1 for i in range(count)],
    }
    data = datasets.Dataset.from_dict(rows | columns)
    return data.cast_column("label", datasets.ClassLabel(names=["yes", "no"]))


def test_default_dataset(monkeypatch):
    calls = hub(monkeypatch, datasets.DatasetDict({"train": hub_split(5), "validation": hub_split(3)}))
    raw = load(dataset_revision="v1")
    assert calls == [("klue/klue", "nli", "v1")]
    assert raw["train"].column_names == ["id", "where", "premise", "hypothesis", "label"]
    assert raw["validation"].to_list() == [
        {
            "id": f"klue-{i}",
            "where": f"klue/klue validation row {i + 1}",
            "premise": f"전제 {i}",
            "hypothesis": "가설",
            "label": label,
        }
        for i, label in enumerate(["-1", "yes", "no"])
    ]


def test_other_dataset_with_a_map_and_a_share_of_train(monkeypatch):
    train = hub_split(40).rename_columns({"premise": "body", "guid": "hypothesis_id"})
    calls = hub(monkeypatch, datasets.DatasetDict({"train": train, "test": train}))
    raw = load(dataset="me/mine", dataset_config="small", column_map="premise=body")
    assert calls == [("me/mine", "small", None)]
    assert {split: len(data) for split, data in raw.items()} == {"train": 38, "validation": 2}
    assert raw["train"][0]["id"] == "train-0"
    assert raw["validation"][0]["where"].startswith("me/mine train row ")
    assert {row["premise"] for row in raw["train"]} | {row["premise"] for row in raw["validation"]} == {
        f"전제 {i}" for i in range(40)
    }


def test_default_dataset_without_a_validation_split(monkeypatch):
    data = datasets.Dataset.from_dict({"id": [11, 12, 13], "text": ["하나", "둘", "셋"]})
    calls = hub(monkeypatch, datasets.DatasetDict({"train": data, "validation": data}))
    raw = load(Plain())
    assert calls == [("wikimedia/wikipedia", "20231101.ko", None)]
    assert {split: len(data) for split, data in raw.items()} == {"train": 2, "validation": 1}
    assert sorted(raw["train"]["id"][:] + raw["validation"]["id"][:]) == ["11", "12", "13"]


@pytest.mark.parametrize("name", ["valid", "val", "dev"])
def test_names_of_validation_splits(monkeypatch, name):
    hub(monkeypatch, datasets.DatasetDict({name: hub_split(3), "test": hub_split(2)}))
    assert load(dataset="me/mine", splits=("validation",))["validation"][0]["where"] == f"me/mine {name} row 1"
    assert message(dataset="me/mine").startswith(f"the dataset me/mine has no split 'train'; it has {name}, test; ")


def test_default_dataset_that_lost_a_split(monkeypatch):
    hub(monkeypatch, datasets.DatasetDict({"train": hub_split(3), "dev": hub_split(2)}))
    assert message() == (
        "the dataset klue/klue has no split 'validation'; it has train, dev; "
        "use --sample_data, or files of your own with --train_file"
    )


def test_columns_and_rows_that_a_dataset_lacks(monkeypatch):
    train = hub_split(3)
    hub(monkeypatch, datasets.DatasetDict({"train": train.remove_columns("label")}))
    assert message(dataset="me/mine") == (
        "me/mine train: no column 'label' (yes or no); the columns there are guid, premise, hypothesis, source; "
        "if one of them is meant, add --column_map label=NAME"
    )
    hub(monkeypatch, datasets.DatasetDict({"train": train.select([])}))
    assert message(dataset="me/mine").startswith("me/mine train holds no rows; ")


def test_task_without_a_dataset():
    assert message(Answers()) == (
        "the task answers has no dataset of its own; name one with --dataset, or "
        "use --sample_data, or files of your own with --train_file"
    )


def test_offline(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert message() == (
        "the dataset klue/klue could not be reached (Couldn't reach 'klue/klue' on the Hub (OfflineModeIsEnabled)); "
        "check the network, or use --sample_data, or files of your own with --train_file"
    )


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def failures() -> dict:
    """{what the user has to read: what the libraries raise}."""
    import huggingface_hub.errors as hub_errors
    from datasets.builder import DatasetGenerationError
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DatasetNotFoundError

    # The package is called httpx or httpx2, depending on the version of huggingface_hub.
    httpx = importlib.import_module(hub_errors.HTTPError.__module__.partition(".")[0])

    def answer(kind: type, status: int) -> Exception:
        response = httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/api"))
        return kind(f"{status} Client Error", response=response)

    unreached = "the dataset me/mine could not be reached ("
    denied = "the dataset me/mine needs permission; ask for it at https://huggingface.co/datasets/me/mine, then log in"
    return {
        "dns": (unreached, httpx.ConnectError("Name or service not known")),
        "timeout": (unreached, httpx.ReadTimeout("timed out")),
        "reset": (unreached, ConnectionResetError(104, "Connection reset by peer")),
        "offline": (unreached, hub_errors.OfflineModeIsEnabled("offline mode is enabled")),
        "no entry": (unreached, hub_errors.LocalEntryNotFoundError("Cannot find the requested files")),
        "busy": (unreached, answer(hub_errors.HfHubHTTPError, 503)),
        "mid-way": (
            unreached,
            caused(DatasetGenerationError("An error occurred while generating"), httpx.ReadError("broken")),
        ),
        "gated": (denied, DatasetNotFoundError("Dataset 'me/mine' is a gated dataset on the Hub.")),
        "gated file": (denied, answer(hub_errors.GatedRepoError, 403)),
        "token": (denied, answer(hub_errors.HfHubHTTPError, 401)),
        "unknown": (
            "there is no dataset me/mine on the Hub, or it is private; check --dataset, or log in: hf auth login",
            caused(
                DatasetNotFoundError("Dataset 'me/mine' doesn't exist on the Hub or cannot be accessed."),
                answer(hub_errors.RepositoryNotFoundError, 401),
            ),
        ),
        "revision": (
            "the dataset me/mine has no revision 'v9'; correct --dataset_revision",
            DatasetNotFoundError("Revision 'v9' doesn't exist for dataset 'me/mine' on the Hub."),
        ),
        "script": (
            f"the dataset me/mine is only a loading script, which datasets {datasets.__version__} does not run; ",
            RuntimeError("Dataset scripts are no longer supported, but found mine.py"),
        ),
        "config": (
            "the dataset me/mine has no configuration 'x'; choose one with --dataset_config: nli, sts",
            ValueError("BuilderConfig 'x' not found. Available: ['nli', 'sts']"),
        ),
        "cached config": (
            "the dataset me/mine has no configuration 'x'; choose one with --dataset_config: nli",
            ValueError("Couldn't find cache for me/mine for config 'x'\nAvailable configs in the cache: ['nli']"),
        ),
        "files": (
            "the dataset me/mine was not found (no data files); check --dataset, or use --sample_data",
            EmptyDatasetError("no data files"),
        ),
        "damaged": (
            "the dataset me/mine could not be read (row 3 is broken); use --sample_data",
            caused(DatasetGenerationError("An error occurred while generating"), ValueError("row 3 is\nbroken")),
        ),
        "disk": (
            "no space is left for the cache of the dataset me/mine; free some, or set HF_HOME to another disk",
            caused(DatasetGenerationError("An error occurred"), OSError(28, "No space left on device")),
        ),
    }


@pytest.mark.parametrize("kind", list(failures()))
def test_failures_of_the_hub(monkeypatch, kind):
    expected, error = failures()[kind]
    hub(monkeypatch, error)
    text = message(dataset="me/mine", dataset_config="x", dataset_revision="v9")
    assert text.startswith(expected)
    if "reached" in expected:
        assert "--sample_data" in text
        assert "--train_file" in text


def test_missing_config(monkeypatch):
    error = ValueError("Config name is missing.\nPlease pick one among the available configs: ['nli', 'sts']\nExample")
    hub(monkeypatch, error)
    assert message(dataset="me/mine") == (
        "the dataset me/mine has several configurations; choose one with --dataset_config: nli, sts"
    )


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch):
    hub(monkeypatch, AttributeError("defect"))
    with pytest.raises(AttributeError):
        load(dataset="me/mine")


def test_folder_saved_to_disk():
    datasets.DatasetDict({"train": hub_split(4), "validation": hub_split(2)}).save_to_disk("saved")
    raw = load(dataset="saved")
    assert raw["validation"][1]["where"] == "saved validation row 2"
    hub_split(20).save_to_disk("table")
    assert {split: len(data) for split, data in load(dataset="table").items()} == {"train": 19, "validation": 1}
    Path("table/state.json").write_text("{", "utf-8")
    assert message(dataset="table").startswith("the dataset table could not be read (")


@pytest.mark.parametrize("name", [name for name in TRAINED if not TASKS[name].conversational])
def test_no_nul_comes_from_the_hub(name):
    task = get_task(name)
    for column in columns_of(task):
        rows = [dict(row) for row in rows_of(task)]
        value = rows[2][column.name]
        if column.read:  # one answer, or a list of them
            for row in rows:
                row[column.name] = [row[column.name]]
            rows[2][column.name] = [value, f"{value}\0"]
        else:
            rows[2][column.name] = f"{value}\0"
        data = load_split(task, datasets.Dataset.from_list(rows), {}, "me/mine train").data
        with pytest.raises(UserError, match=r"me/mine train row 3: (.* holds a NUL character|unknown label)"):
            format_examples(task, [row | {"id": "1"} for row in data], False)


@pytest.mark.parametrize("more", ["", "/README.md"])  # by the files, and by the datasets library
def test_the_limits_of_parquet_hold_for_a_folder(monkeypatch, more):
    monkeypatch.setattr("tasks.reading.parquet_rows.UNFOLDED_BYTES", 1 << 20)
    os.mkdir("folder")
    table = pa.table({name: ["가" * 1_000_000] for name in ("premise", "hypothesis", "label")})
    pq.write_table(table, "folder/train.parquet", compression="zstd")
    if more:
        Path("folder/README.md").write_text("# rows\n", "utf-8")
    error = message(dataset="folder")
    assert error.startswith("folder/train.parquet unfolds to ") and "1,048,576 is the most for a file of its size" in error


def test_folder_of_data_files(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    os.mkdir("folder")
    assert message(dataset="folder").startswith("the dataset folder was not found (")
    jsonl("folder/train.jsonl", pairs(20))
    assert load(dataset="folder")["train"][0]["where"].startswith("folder/train.jsonl line ")
    assert message(dataset="folder", dataset_config="x") == (
        "the dataset folder has no configuration 'x'; choose one with --dataset_config: default"
    )
    Path("folder/folder.py").write_text("", "utf-8")
    assert message(dataset="folder").startswith("the dataset folder is only a loading script, ")
    assert message(dataset="folder/train.jsonl") == "--dataset folder/train.jsonl is a file; give it as --train_file"
    assert message(dataset="no/such/folder").startswith("the dataset no/such/folder was not found (")


# rows to examples


def test_row_error():
    row = {"where": "train.csv line 12"}
    assert str(row_error(row, RowError("column 'text' is empty"))) == "train.csv line 12: column 'text' is empty"


def test_format_examples():
    rows = pairs(3)
    rows[1]["premise"] = " "
    jsonl("a.jsonl", rows)
    data = load(train_file="a.jsonl", splits=("train",))["train"]
    with pytest.raises(UserError) as caught:
        format_examples(Pair(), data, False)
    assert str(caught.value) == (
        "a.jsonl line 2: column 'premise' is empty; fill it, or drop such rows with --skip_bad_rows"
    )
    assert format_examples(Pair(), data, True) == (
        [Example("train-0", ("전제 0",), "yes"), Example("train-2", ("전제 2",), "yes")],
        {"skipped": 1, "skipped_no_text": 1},
    )


def test_format_examples_without_a_usable_row():
    jsonl("a.jsonl", pairs(3, label="maybe"))
    data = load(train_file="a.jsonl", splits=("train",))["train"]
    with pytest.raises(UserError) as caught:
        format_examples(Pair(), data, True)
    assert str(caught.value) == "none of 3 rows can be used; the first problem: a.jsonl line 1: unknown label 'maybe'"


def test_the_commit_that_was_read_is_told_by_the_cache(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name, expected in ((commit, commit), ("fe97b6a940c8ac31", None)):  # a data set of the Hub, and a folder's
        folder = tmp_path / "klue___klue" / "nli" / "0.0.0" / name
        datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(folder)
        assert commit_of({"train": datasets.load_from_disk(folder)}) == expected
    assert commit_of({"train": datasets.Dataset.from_dict({"text": ["a"]})}) is None


def test_a_source_says_what_was_read_and_writes_to_no_argument(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "klue___klue" / "nli" / "0.0.0" / commit
    hub_split(3).save_to_disk(folder)
    parts = {"train": datasets.load_from_disk(folder), "validation": datasets.load_from_disk(folder)}
    hub(monkeypatch, datasets.DatasetDict(parts))
    arguments = DataArguments(dataset_revision="main")
    source = sources.find_source(Pair(), arguments, ("train", "validation"))
    assert source.describe() == {"source": "hub", "name": "klue/klue", "config": "nli", "revision": commit}
    assert arguments == DataArguments(dataset_revision="main")


def test_a_source_describes_the_files_that_were_read_and_reads_them_once_for_it(monkeypatch):
    jsonl("a.jsonl", pairs(3))
    source = sources.find_source(Pair(), DataArguments(train_file="?.jsonl"), ("train",))
    (digest,) = [digest for _, digest in source.identity("train")]
    jsonl("a.jsonl", pairs(2))  # since then
    described = source.describe()
    assert described == {
        "source": "files",
        "files": [{"split": "train", "name": "a.jsonl", "sha256": digest, "bytes": os.path.getsize("a.jsonl")}],
    }
    assert source.identity("train") != [[".jsonl", digest]]


def test_a_stream_has_the_columns_of_the_rows_in_memory():
    jsonl("a.jsonl", [{"sentence1": "가", "hypothesis": "나", "label": "no"}])
    source = sources.find_source(Pair(), DataArguments(train_file="a.jsonl"), ("train",))
    assert list(source.stream("train")) == [
        {"id": "a.jsonl line 1", "where": "a.jsonl line 1", "premise": "가", "hypothesis": "나", "label": "no"}
    ]
    assert source.choices == ["a.jsonl: premise = sentence1"]
