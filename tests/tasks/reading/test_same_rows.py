"""One set of rows by every way that there is: a run gets the same examples, whichever file, folder or Hub they lie in."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import datasets
import openpyxl
import pytest

from tasks import TASKS, get_task
from tasks.arguments.data import DataArguments
from tasks.preparing.splits import load_examples
from tasks.reading.columns import columns_of
from tests.helpers.task_rows import rows_of

pytest_plugins = ["tests.helpers.hub_fixtures"]

WAYS = ("csv", "semicolons", "tsv", "txt", "json", "below a key", "jsonl", "parquet", "xlsx", "folder", "saved", "hub")

LABELLED = [name for name, task in TASKS.items() if task.label_words]
WRITTEN = [name for name, task in TASKS.items() if task.target_columns and not task.label_words]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(rows: list[dict], delimiter: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerows([list(rows[0]), *(row.values() for row in rows)])
    return out.getvalue()


def written(way: str, rows: list[dict], typed: datasets.Dataset, hub) -> dict[str, str]:
    """The flags that read ``rows``, or ``typed`` where the way keeps a schema."""
    if way in ("csv", "semicolons", "tsv", "txt"):
        path = Path(f"rows.{'csv' if way == 'semicolons' else way}")
        path.write_text(table(rows, {"csv": ",", "semicolons": ";"}.get(way, "\t")), "utf-8")
    elif way in ("json", "below a key"):
        path = Path("rows.json")
        path.write_text(json.dumps({"meta": {"rows": rows}} if way == "below a key" else rows), "utf-8")
    elif way == "jsonl":
        path = Path("rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif way == "xlsx":
        path, book = Path("rows.xlsx"), openpyxl.Workbook()
        for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
            book.active.append(cells)
        book.save(path)
    elif way == "parquet":
        path = Path("rows.parquet")
        typed.to_parquet(path)
    elif way == "folder":
        Path("folder").mkdir()
        Path("folder/train.csv").write_text(table(rows, ","), "utf-8")
        return {"dataset": "folder"}
    elif way == "saved":
        datasets.DatasetDict({"train": typed}).save_to_disk("saved")
        return {"dataset": "saved"}
    else:
        content = io.BytesIO()
        typed.to_parquet(content)
        hub.add_repo("datasets/me/rows", {"train.parquet": content.getvalue()})
        return {"dataset": "me/rows"}
    return {"train_file": str(path)}


def examples(task: str, flags: dict[str, str]) -> tuple[list[tuple], dict[str, int]]:
    """Each example as (id, prompt, completion, references), and the counts."""
    # A task of plain text asks what a table under the name .txt means.
    asked = (
        {"column_map": "text=text"} if flags.get("train_file") == "rows.txt" and len(columns_of(get_task(task))) == 1 else {}
    )
    found, counts = load_examples(get_task(task), DataArguments(**flags, **asked), seed=42, splits=("train",))
    return [(one.id, one.prompt, one.completion, one.references) for one in found["train"]], counts["train"]


def expected(task: str, rows: list[dict]) -> list[tuple]:
    made = [get_task(task).format(row) for row in rows]
    return [(one.id, one.prompt, one.completion, one.references) for one in made]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TASKS)
def test_text(name, way, hub):
    rows = [{"id": f"0{n}"} | row for n, row in enumerate(rows_of(TASKS[name]))]
    assert examples(name, written(way, rows, datasets.Dataset.from_list(rows), hub))[0] == expected(name, rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LABELLED)
def test_labels_of_a_schema_in_its_own_order(name, way, hub):
    task = TASKS[name]
    rows = [{"id": str(n)} | row for n, row in enumerate(rows_of(task))]
    column = task.target_columns[-1].name
    typed = datasets.Dataset.from_list(rows).cast_column(
        column, datasets.ClassLabel(names=sorted(task.label_words, reverse=True))
    )
    assert examples(name, written(way, rows, typed, hub))[0] == expected(name, rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", WRITTEN)
def test_numbers_and_what_pandas_makes_of_them(name, way, hub):
    task = TASKS[name]
    first, *others = (column.name for column in task.input_columns)
    target = task.target_columns[0].name
    texts = [
        {"id": str(7 + n), first: f"민준이 {year}년에 책을 빌렸다."} | dict.fromkeys(others, "언제?") | {target: year}
        for n, year in enumerate(["1989", "2001"])
    ]
    numbers = [row | {"id": int(row["id"]), target: int(row[target])} for row in texts]
    floats = datasets.Dataset.from_list([row | {"id": float(row["id"]), target: float(row[target])} for row in texts])
    found, counts = examples(name, written(way, numbers, floats, hub))
    assert found == expected(name, texts)
    assert counts.get("numbers_read_as_text", 0) == (0 if way in ("csv", "semicolons", "tsv", "txt", "folder") else 2)
