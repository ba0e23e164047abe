"""What is chosen while files are read: said once, counted, and refused where two things fit."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path

import datasets
import openpyxl
import pytest

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.errors import UserError
from tasks.preparing.splits import load_examples
from tasks.reading.files import find_files, read_rows


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, logger="tasks")


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, "utf-8")
    return name


def jsonl(name: str, *rows: dict) -> str:
    return write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read(task: str, name: str, split: str = "train", **flags) -> tuple[list[tuple], dict[str, int]]:
    """(prompt, completion) of each example, and the counts."""
    flags |= {f"{split}_file": name}
    found, counts = load_examples(get_task(task), DataArguments(**flags), seed=42, splits=(split,))
    return [(one.prompt_text, one.completion) for one in found[split]], counts[split]


def refused(task: str, name: str, **flags) -> str:
    with pytest.raises(UserError) as caught:
        read(task, name, **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# which column


@pytest.mark.parametrize(
    ("header", "choice"),
    [
        ("제목,본문,요약문", "document = 본문, summary = 요약문"),
        ("title,content,abstract", "document = content, summary = abstract"),
        ("title,text,summary_text", "document = text, summary = summary_text"),
        ("제목,본문,날짜", "document = 본문, summary = 제목"),
        ("x,Document, Sum mary", "document = Document, summary = Sum mary"),
        (unicodedata.normalize("NFD", "제목,본문,요약"), unicodedata.normalize("NFD", "document = 본문, summary = 요약")),
    ],
)
def test_the_summary_is_taken_before_the_title_and_said(header, choice, caplog):
    place = header.split(",").index(choice.rpartition(" = ")[2]) if "Sum" not in header else 2
    rows, _ = read("summarize", write("a.csv", f"{header}\n하나,둘,셋\n"))
    assert rows == [("둘<summarize>", ["하나", "둘", "셋"][place])]
    assert unicodedata.normalize("NFC", f"a.csv: {choice}") in unicodedata.normalize("NFC", caplog.text)


@pytest.mark.parametrize(
    ("header", "which"),
    [
        ("요약,본문,abstract", "summary could be 요약 or abstract"),
        ("제목,본문,핵심요약", "summary could be 제목 or 핵심요약"),
        ("본문,기사,summary", "document could be 본문 or 기사"),
        ("Summary,document,SUMMARY", "summary could be Summary or SUMMARY"),
    ],
)
def test_two_columns_that_fit_are_refused(header, which):
    name = which.split()[0]
    assert refused("summarize", write("a.csv", f"{header}\n하나,둘,셋\n")) == (
        f"a.csv: {which}; name it with --column_map {name}=NAME"
    )


def test_the_names_of_a_models_own_data_are_used_where_they_are_there():
    task = get_task("summarize")
    task.column_map = "document=본문,summary=요지"

    def column(text: str) -> list:
        name = write("a.csv", text)
        found, _ = load_examples(task, DataArguments(validation_file=name), seed=42, splits=("validation",))
        return [(one.prompt_text, one.completion) for one in found["validation"]]

    assert column("제목,본문,요지\n하나,둘,셋\n") == [("둘<summarize>", "셋")]
    assert column("document,summary\n하나,둘\n") == [("하나<summarize>", "둘")]
    with pytest.raises(UserError, match=r"no column '요지', which the model's task\.json gives for 'summary'; the columns"):
        column("제목,본문\n하나,둘\n")


def test_files_may_have_names_and_columns_of_their_own(caplog):
    write("a.csv", "document,summary,date\n하나,둘,1\n")
    write("b.csv", "본문,요약\n셋,넷\n")
    assert read("summarize", "*.csv")[0] == [("하나<summarize>", "둘"), ("셋<summarize>", "넷")]
    write("c.csv", "본문,날짜\n다섯,여섯\n")
    assert refused("summarize", "*.csv").startswith("c.csv: no column 'summary' (")


# which rows


def test_rows_below_a_key():
    rows = [{"text": ["하나", "둘"], "abstractive": ["셋"]}]
    for content in (
        {"documents": rows},
        {"문서요약 텍스트": {"documents": rows}},
        {"data": {"rows": rows}, "info": [{"a": 1}]},
    ):
        assert read("summarize", write("a.json", json.dumps(content)))[0] == [("하나 둘<summarize>", "셋")]
    write("a.json", json.dumps({"train": rows, "test": rows}))
    assert refused("summarize", "a.json") == "a.json: the rows could lie under 'train' or 'test'; save one as jsonl"
    write("a.json", json.dumps({"info": {"items": [{"x": 1}]}}))
    assert refused("summarize", "a.json").endswith("; the rows seem to lie under 'info' 'items'")


def test_ai_hub():
    sentences = [[{"index": 0, "sentence": "하나."}, {"index": 1, "sentence": " 둘."}], [{"index": 2, "sentence": "셋."}]]
    documents = [{"id": "7", "title": "제목", "text": sentences, "abstractive": ["넷."], "extractive": [0, None]}]
    rows, counts = read("summarize", write("a.json", json.dumps({"name": "요약", "documents": documents})))
    assert rows == [("하나. 둘. 셋.<summarize>", "넷.")]
    assert counts == {"rows": 1, "lists_joined": 2}
    answers = {"text": "서울", "answer_start": 4, "clue_text": "수도"}
    qas = [{"question_id": "m1", "question": "어디?", "is_impossible": False, "answers": answers}]
    data = [{"doc_id": 1, "doc_title": "제목", "paragraphs": [{"context": "수도는 서울", "context_id": 1, "qas": qas}]}]
    write("b.json", json.dumps({"Dataset": {"identifier": "x"}, "data": data}))
    found, _ = load_examples(get_task("qa"), DataArguments(train_file="b.json"), seed=42, splits=("train",))
    (example,) = found["train"]
    assert (example.id, example.completion, example.prompt[0].keep) == ("m1", "서울", (4, 6))


def test_a_list_of_what_is_no_sentence_is_refused():
    assert refused("summarize", jsonl("a.jsonl", {"document": [1, 2], "summary": "가"})) == (
        "a.jsonl line 1: column 'document' holds list '[1, 2]', not text; join it into one text"
    )


def test_damaged_rows_are_skipped_and_counted(caplog):
    write("a.tsv", "premise\thypothesis\tlabel\n가\t나\tneutral\n다\t라\t마\tneutral\n바\t사\tneutral\n")
    assert refused("nli", "a.tsv").startswith("a.tsv line 3: 4 cells, but the header has 3")
    rows, counts = read("nli", "a.tsv", skip_bad_rows=True)
    assert [prompt for prompt, _ in rows] == ["가<sep>나<nli>", "바<sep>사<nli>"]
    assert counts == {"rows": 2, "skipped": 1, "skipped_damaged": 1, "label neutral": 2}
    write("b.jsonl", '{"text": "가"}\n{"text": "\\ud83d"}\n{"text"\n{"text": 3}\n{"text": "나"}\n')
    assert refused("generate", "b.jsonl").startswith("b.jsonl line 2: ")
    kinds = {"skipped_unusable_character": 1, "skipped_damaged": 1, "skipped_no_text": 1}
    counts = {"rows": 2, "skipped": 3, **kinds}
    assert read("generate", "b.jsonl", skip_bad_rows=True) == ([("<bos>", "가"), ("<bos>", "나")], counts)
    said = "3 skipped, 1 skipped no text, 1 skipped unusable character, 1 skipped damaged"
    assert sorted(f"train: {said}".split(", ")) in [sorted(message.split(", ")) for message in caplog.messages]
    write("c.json", '[{"text": "가"}, 3]')
    assert read("generate", "c.json", skip_bad_rows=True)[1] == {"rows": 1, "skipped": 1, "skipped_damaged": 1}


def test_a_cap_draws_and_a_label_that_is_missing_is_said(caplog):
    labels = ["entailment"] * 20 + ["neutral"] * 20 + ["contradiction"] * 20
    jsonl("a.jsonl", *({"premise": f"가 {n}", "hypothesis": "나", "label": label} for n, label in enumerate(labels)))
    _, counts = read("nli", "a.jsonl", max_train_samples=12)
    assert counts == {"rows": 12, "label entailment": 5, "label neutral": 3, "label contradiction": 4}
    assert "row of train" not in caplog.text
    jsonl("b.jsonl", *({"premise": "가", "hypothesis": "나", "label": label} for label in (0, 1, 1.0)))
    assert read("nli", "b.jsonl")[1] == {
        "rows": 3, "numbers_read_as_text": 3, "label entailment": 1, "label neutral": 2,
    }  # fmt: skip
    assert "no row of train has the label contradiction (2); 0 and 1 are read as entailment and neutral" in caplog.text
    jsonl("c.jsonl", *({"premise": "가", "hypothesis": "나", "label": "neutral"} for _ in range(2)))
    read("nli", "c.jsonl")
    assert "all 2 training rows have the label neutral" in caplog.text


def test_a_column_that_is_not_whole_keeps_its_fractions():
    datasets.Dataset.from_dict({"document": ["가", "나"], "summary": [2.0, 3.5]}).to_parquet("a.parquet")
    assert [summary for _, summary in read("summarize", "a.parquet")[0]] == ["2.0", "3.5"]


# txt


NSMC = 'id\tdocument\tlabel\n1\t"좋다\t1\n2\t\t0\n3\t나쁘다\t0\n'


def test_a_table_in_a_txt_is_asked_about_and_read_as_one():
    assert refused("generate", write("a.txt", NSMC)) == (
        "a.txt: it looks like a table with tabs between its columns (id, document, label); say what to learn: "
        "--column_map text=document for a column, or --txt_unit line for the lines as they are"
    )
    assert read("generate", "a.txt", column_map="text=document") == (
        [("<bos>", '"좋다'), ("<bos>", "나쁘다")],
        {"rows": 2, "rows_without_text": 1},
    )
    assert len(read("generate", "a.txt", txt_unit="line")[0]) == 4
    assert "it looks like a table" in refused("scratch", "a.txt")
    assert "to learn one of them, add a line with their names, or --txt_unit line" in refused(
        "generate", write("b.txt", "가\t나\n다\t라\n")
    )
    write("c.txt", "sentence1\tsentence2\tgold_label\n가\t나\tneutral\n다\t\tneutral\n")
    assert read("nli", "c.txt")[1] == {"rows": 1, "rows_without_text": 1, "label neutral": 1}
    assert refused("nli", "a.txt").startswith(
        "a.txt: no column 'premise' (what is known); the columns there are id, document"
    )


@pytest.mark.parametrize(
    "text", ["\t첫 문단.\n\t둘째 문단.\n", "글, 그림\n하나\n", "가\t나\n다\n", "그는,\n말했다,\n", "그는, 말했다; 끝.\n둘\n"]
)
def test_prose_is_no_table(text):
    assert [line for _, line in read("generate", write("a.txt", text))[0]] == text.splitlines()


def test_units_of_a_txt(caplog):
    write("novels/a.txt", "\n하나\n둘\n\n \n셋\n")
    write("novels/b/b.txt", "넷\n")
    write("novels/.c.txt", "숨은 파일\n")
    write("novels/d.doc", "x")
    texts = {
        unit: [text for _, text in read("generate", "novels", txt_unit=unit)[0]] for unit in (None, "paragraph", "file")
    }
    assert texts == {
        None: ["하나", "둘", "셋", "넷"], "paragraph": ["하나\n둘", "셋", "넷"], "file": ["\n하나\n둘\n\n \n셋", "넷"],
    }  # fmt: skip
    assert "novels/a.txt and 1 more: read as one text a line (--txt_unit)" in caplog.text
    assert "novels: 2 files, and 1 of other types, which are not read" in caplog.text


# files


def test_a_folder_with_files_of_several_splits_is_refused():
    write("data/train.csv", "text\n가\n")
    write("data/sub/my_test.csv", "text\n나\n")
    assert refused("generate", "data") == (
        "data holds files of several splits, data/train.csv and data/sub/my_test.csv; name those of one, each with its own "
        "flag, or give the folder as --dataset"
    )


def test_a_folder_under_its_literal_name_is_no_glob():
    write("d[1]/a.csv", "text\n가\n")
    write("d1/b.csv", "text\n나\n")
    assert [find_files(name) for name in ("d[1]", "d[1]/*.csv", "d[1]/a.csv", "d?/*.csv")] == [
        ["d[1]/a.csv"], ["d[1]/a.csv"], ["d[1]/a.csv"], ["d1/b.csv"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "text;label\n가, 나;1\n", [{"text": "가, 나", "label": "1"}]),
        ("a.csv", 'text\tlabel\n"가\t1\n', [{"text": '"가', "label": "1"}]),
        ("a.tsv", "text,label\n가;나,1\n", [{"text": "가;나", "label": "1"}]),
        ("a.csv", '"text, long",b\n가;나,1\n', [{"text, long": "가;나", "b": "1"}]),
        ("a.csv", "text\n가\n", [{"text": "가"}]),
        ("a.csv", "text,label\n가,1\n,\n나,2\n,\n,\n", [{"text": "가", "label": "1"}, {"text": "", "label": ""},
                                                      {"text": "나", "label": "2"}]),
    ],
)  # fmt: skip
def test_separators_and_empty_rows_at_the_end(name, text, rows):
    assert [row.values for row in read_rows(write(name, text))] == rows


def test_a_header_that_two_separators_fit_is_refused():
    assert refused("generate", write("a.csv", "text,b;c\n가,나;다\n")) == (
        "a.csv line 1: its cells could be separated by commas or semicolons; put names that hold one in double quotes"
    )


def workbook(name: str, **sheets: list[list]) -> str:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for cells in rows:
            sheet.append(cells)
        sheet.cell(30, 1).font = openpyxl.styles.Font(bold=True)  # an empty row that has a format
    book.save(name)
    return name


def test_workbooks(caplog):
    name = workbook(
        "a.xlsx", data=[[], ["premise", "hypothesis", "label"], ["가", "나", 2.0], [None], ["다", "라", 0]], notes=[]
    )
    assert [row.where for row in read_rows(name)] == ["a.xlsx row 3", "a.xlsx row 4", "a.xlsx row 5"]
    assert refused("nli", name).startswith("a.xlsx row 4: unknown label None")
    assert read("nli", name, skip_bad_rows=True)[1] == {
        "rows": 2, "skipped": 1, "skipped_unknown_label": 1, "numbers_read_as_text": 2, "empty_rows_at_the_end": 25,
        "label contradiction": 1, "label entailment": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sheets", "message"),
    [
        (
            {"a": [["text"], ["가"]], "b": [["text"], ["나"]]},
            "b.xlsx: several sheets hold rows (a, b); save the one that is",
        ),
        ({"a": [["text", None, "b"], ["가"]]}, "b.xlsx row 1: column 2 of the header has no name"),
        ({"a": [["text", "text"], ["가"]]}, "b.xlsx row 1: two columns of the header are called 'text'; rename one"),
        ({"a": [["text"], ["가", "나"]]}, "b.xlsx row 2: a cell stands outside the 1 columns of the header; remove it"),
        ({"a": [["text"]]}, "b.xlsx holds no rows; give a file that has some"),
    ],
)
def test_workbooks_that_are_refused(sheets, message):
    assert refused("generate", workbook("b.xlsx", **sheets)).startswith(message)
    assert refused("generate", write("c.xlsx", "text")).startswith("c.xlsx cannot be read as a workbook (")


# answers


CONTEXT = "첫 서울. 둘째 서울."


@pytest.mark.parametrize(
    "row",
    [
        {"answers": {"text": ["서울"], "answer_start": [9]}},
        {"answers": {"text": "서울", "answer_start": 9}},
        {"answers": [{"text": "서울", "answer_start": 9}]},
        {"answer": "서울", "answer_start": 9},
        {"answer_text": ["서울"], "Answer Start": [9]},
        {"정답": '{"text": ["서울"], "answer_start": [9]}'},
        {"answer": "서울", "answer_start": "9"},
        {"answer": "서울", "answer_start": 9.0},
    ],
)
def test_an_offset_is_read_wherever_it_stands(row):
    jsonl("a.jsonl", {"context": CONTEXT, "question": "?"} | row)
    found, counts = load_examples(get_task("qa"), DataArguments(train_file="a.jsonl"), seed=42, splits=("train",))
    assert [(one.completion, one.prompt[0].keep) for one in found["train"]] == [("서울", (9, 11))]
    assert counts == {"train": {"rows": 1}}


def test_a_wrong_offset_is_counted_and_said(caplog):
    base = {"context": CONTEXT, "question": "?", "answer": "서울"}
    jsonl("a.jsonl", *(base | {"answer_start": start} for start in (2, 99999, -1, None)))
    assert read("qa", "a.jsonl")[1] == {"rows": 4, "wrong_answer_start": 2}
    assert "train: answer_start does not point at the answer in 2 of 4 rows" in caplog.text


def test_a_number_is_an_answer():
    base = {"context": "1989년", "question": "언제?"}
    rows, counts = read("qa", jsonl("a.jsonl", base | {"answer": 1989}, base | {"answer": "1989년"}))
    assert [answer for _, answer in rows] == ["1989", "1989년"]
    assert counts == {"rows": 2, "numbers_read_as_text": 1}
