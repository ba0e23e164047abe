"""Any value in any column of any task, from files, datasets and standard input: just that text, or one line."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import strategies as st

from tasks import TASKS, get_task
from tasks.base import Source
from tasks.errors import RowError, UserError
from tasks.inference.inputs import input_examples, read_inputs, rows_of_lines
from tasks.preparing.splits import format_examples
from tasks.reading.columns import columns_of, load_rows
from tasks.reading.hub_data import load_split
from tasks.reading.rows import Row, checked
from tasks.run_folder import RunConfig
from tasks.text import nfc
from tests.helpers.fuzz import EXAMPLES, fuzz, is_writable, json_values, rows_or_error, texts
from tests.helpers.task_rows import rows_of

NAMES = sorted(TASKS)


def any_rows_of(task, values=json_values):
    """Rows of the task in which any column may hold anything."""
    sound = rows_of(task)[0]
    column = {column.name: values | st.just(sound[column.name]) for column in columns_of(task)}
    return st.lists(st.fixed_dictionaries({"id": values, **column}), min_size=1, max_size=3)


def said(value):
    """What stands in a column of text: a list of sentences is one text, and a number in a target its shortest text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(int(value) if value == value // 1 else value)
    if not isinstance(value, list):
        return value
    flat = [said(item) if isinstance(item, list) else item["sentence"] if isinstance(item, dict) else item for item in value]
    return " ".join(item.strip() for item in flat if item.strip())


def check_examples(task, rows, examples):
    """Each example is made of the very text of its row: nothing but text is taken for text."""
    assert len(rows) == len(examples)
    for row, example in zip(rows, examples):
        texts = [getattr(part, "text", part) for part in example.prompt if type(part) in (str, Source)]
        names = [column.name for column in task.input_columns] if texts else []
        assert texts == [said(row[name]) for name in names]
        assert all(isinstance(text, str) and is_writable(text) and text.strip() for text in texts)
        target = row[(task.target_columns or task.input_columns)[0].name]
        target = target if task.label_words or task.extractive else said(target)
        if task.label_words:
            assert not isinstance(target, bool)
            given = str(int(target) if isinstance(target, float) else target).strip().lower()
            known = task.label_aliases.get(given, given)
            assert (example.references, example.completion) == ((known,), task.label_words[known])
        elif task.extractive:
            keep = example.prompt[0].keep
            assert example.completion and said(row[task.input_columns[0].name])[slice(*keep)] == example.completion
            assert json.dumps(example.completion)[1:-1] in json.dumps(target)
        else:
            assert isinstance(target, str) and example.completion in (target, target.strip())


@EXAMPLES
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_files(examples, name):
    task = get_task(name)

    @fuzz(examples, rows=any_rows_of(task), skip=st.booleans())
    def check(rows, skip):
        placed = [Row(row, f"a.jsonl line {n}") for n, row in enumerate(rows, 1)]

        def read():
            loaded = load_rows(map(checked, placed), task, {}, "a.jsonl")
            data = [row | {"id": f"{n}"} for n, row in enumerate(loaded.data)]
            return data, *format_examples(task, data, skip)

        found, _ = rows_or_error(read, "a.jsonl line ", "none of ")
        if found:
            data, made, skipped = found
            kept = {example.id for example in made}
            assert len(made) + skipped["skipped"] == len(rows)
            check_examples(task, [rows[int(row["id"])] for row in data if row["id"] in kept], made)


@EXAMPLES
@pytest.mark.parametrize("name", NAMES)
def test_rows_of_datasets(examples, name):
    import datasets
    import pyarrow as pa

    task = get_task(name)

    @fuzz(examples, rows=any_rows_of(task, texts | st.integers(-1, 3) | st.none() | st.lists(texts, max_size=2)))
    def check(rows):
        try:
            data = datasets.Dataset(pa.Table.from_pylist(rows))
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return  # no dataset can hold these values
        where = "me/mine train row "

        def read():
            return format_examples(
                task, [row | {"id": "1"} for row in load_split(task, data, {}, "me/mine train").data], False
            )

        found, _ = rows_or_error(read, where)
        if found:
            check_examples(task, rows, found[0])


def test_damaged_text_of_a_dataset_is_named():
    import datasets
    import pyarrow as pa

    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xb0\xa1")])
    with pytest.raises(UserError, match=r"^me/mine train: damaged text \(.*Invalid UTF8"):
        load_split(get_task("generate"), datasets.Dataset(pa.table({"text": broken})), {}, "me/mine train")


@EXAMPLES
@pytest.mark.parametrize("name", NAMES)
def test_lines_of_standard_input(examples, name):
    task = get_task(name)
    objects = st.fixed_dictionaries({column.name: json_values for column in task.input_columns}).map(json.dumps)
    tabs = st.lists(texts, min_size=1, max_size=3).map("\t".join)

    @fuzz(examples, lines=st.lists(objects | tabs | texts, max_size=3))
    def check(lines):
        def read():
            rows = list(rows_of_lines(task, lines, "standard input"))
            return rows, input_examples(task, read_inputs(task, rows, "standard input"))

        found, _ = rows_or_error(read, "standard input")
        if found:
            rows, made = found
            assert len(rows) == len(made) == sum(bool(line.strip()) for line in lines)
            for row, example in zip(rows, made):
                if task.conversational:
                    assert example.conversation[-1][0] == "user" and is_writable(example.prompt_text)
                elif task.output_type != "loglikelihood":  # an empty text is a beginning there
                    assert [getattr(part, "text", part) for part in example.prompt if type(part) in (str, Source)] == [
                        nfc(row.values[column.name]) for column in task.input_columns
                    ]


def test_bytes_that_are_not_utf_8_on_standard_input():
    import io

    task = get_task("summarize")
    for errors, place in (("strict", ": not UTF-8 after line 0"), ("surrogateescape", " line 2: not UTF-8")):
        lines = io.TextIOWrapper(io.BytesIO(b"ok\n" + "안녕\n".encode("cp949")), "utf-8", errors)
        with pytest.raises(UserError) as caught:
            list(rows_of_lines(task, lines, "standard input"))
        assert str(caught.value) == f"standard input{place}; convert it first: iconv -f CP949 -t UTF-8"


def test_json_on_standard_input_is_read_as_strictly_as_in_files():
    for name in ("nli", "generate"):
        for line, expected in (
            (
                '{"text": "a", "text": "b"}',
                "the key 'text' stands twice in one object; only one of them can be meant: 'a' or 'b'",
            ),
            ('{"text": ' * 100_000, "the JSON is nested too deeply; flatten it"),
            (
                '{"text": "\\ud83d"}',
                "column 'text' holds half of a surrogate pair (such as \\ud83d), as character 1; remove it",
            ),
        ):
            with pytest.raises(UserError) as caught:
                list(rows_of_lines(get_task(name), [line], "standard input"))
            assert str(caught.value) == f"standard input line 1: {expected}"


@pytest.mark.parametrize("value", [0, 0.0, False, [], {}])
def test_a_beginning_that_is_no_text_is_not_taken_for_an_empty_one(value):
    with pytest.raises(RowError, match=r"column 'text' holds .* not text"):
        get_task("generate").input_example({"id": "1", "text": value})


@pytest.mark.parametrize("start", ["x", True, 0.5, math.inf, [0], {"a": 1}])
def test_an_offset_that_is_no_number_of_characters_is_refused(start):
    row = {
        "id": "1",
        "context": "서울은 수도이다.",
        "question": "수도는?",
        "answers": {"text": ["서울"], "answer_start": [start]},
    }
    with pytest.raises(RowError, match=r"^answer_start is .*, not a number of characters; mend it, or leave it out$"):
        get_task("qa").format(row)


def test_an_answer_at_its_offset_is_found_among_occurrences_that_overlap():
    row = {"id": "1", "context": "하하하하", "question": "?", "answers": {"text": ["하하"], "answer_start": [1]}}
    assert get_task("qa").format(row).prompt[0].keep == (1, 3)


@pytest.mark.parametrize("answers", [3, 2.5, True, {"text": 3}, {"text": {"a": 1}}, [[1]], [True]])
def test_answers_that_are_no_text_are_refused(answers):
    with pytest.raises(RowError, match=r"^the row has no answer; drop such rows"):
        get_task("qa").format({"id": "1", "context": "서울은 수도이다.", "question": "수도는?", "answers": answers})


@EXAMPLES
def test_task_json(examples, tmp_path):
    sound = RunConfig("nli", 1, "b", "", {"<sep>": 9}, {"neutral": "중립"}, 64, 8, {"num_beams": 1})
    sound.save(tmp_path)
    whole = json.loads((tmp_path / "task.json").read_text("utf-8"))

    draws = {"value": json_values, "cut": st.none() | st.integers(0, 200), "several": st.booleans()}

    @fuzz(examples, name=st.sampled_from(sorted(whole)), **draws)
    def check(name, value, cut, several):
        changed = whole | {name: value}
        text = json.dumps([whole | {"task": "qa"}, changed] if several else changed)[:cut]
        (tmp_path / "task.json").write_text(text, "utf-8")
        found, _ = rows_or_error(lambda: RunConfig.load(tmp_path), f"{tmp_path / 'task.json'}: not a task.json")
        if found:
            expected = sound.__dict__[name]
            kinds = {"column_map": (str, type(None)), "temperature": (float, type(None))}.get(name, type(expected))
            assert isinstance(value, kinds) and not isinstance(value, bool)


def test_task_json_nested_without_end(tmp_path):
    (tmp_path / "task.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(UserError, match=r"task\.json: not a task\.json of this project"):
        RunConfig.load(tmp_path)
