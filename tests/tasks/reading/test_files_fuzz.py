"""Files of every type with hostile text: their rows come back as they were written, or one line names file and row."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path

import openpyxl
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from tasks.reading.files import read_rows
from tasks.reading.rows import DEPTH_LIMIT
from tests.helpers.fuzz import EXAMPLES, fuzz, is_writable, json_values, rows_or_error, texts

COLUMNS = ["text", "label", "셋"]

SENTENCES = [
    "안녕하세요 반갑습니다",
    "대한민국의 수도는 서울이다.",
    "비가 와서 우산을 샀다, 두 개!",
    "그는 웃었다: 하하",
    "1234",
]

tables = st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(texts, min_size=n, max_size=n), min_size=1, max_size=4))


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return name


def read(name: str):
    return rows_or_error(lambda: list(read_rows(name)), name)


def values(rows):
    return [row.values for row in rows]


def same(value, other) -> bool:
    """Equal, with NaN equal to itself and true not to 1."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    both_nan = isinstance(value, float) and isinstance(other, float) and math.isnan(value) and math.isnan(other)
    return both_nan or (type(value) is type(other) and value == other)


def is_sound(value, depth: int = 0) -> bool:
    """Whether a value is one that the readers promise to take."""
    if isinstance(value, str):
        return is_writable(value)
    if not isinstance(value, (dict, list)):
        return True
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return depth < DEPTH_LIMIT and all(is_sound(item, depth + 1) for item in inner)


def is_korean(content: bytes) -> bool:
    """Whether bytes can be read as CP949."""
    try:
        return bool(content.decode("cp949"))
    except UnicodeDecodeError:
        return False


@EXAMPLES
@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables_come_back(examples, name, delimiter):
    @fuzz(
        examples,
        table=tables,
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        end=st.sampled_from(["\n", "\r\n", "\r"]),
    )
    def check(table, quoting, end):
        header = COLUMNS[: len(table[0])]
        out = io.StringIO(newline="")
        starts = []
        writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
        for cells in [header, *table]:
            starts.append(len(re.findall("\r\n|\r|\n", out.getvalue())) + 1)
            writer.writerow(cells)
        rows, error = read(write(name, out.getvalue()))
        if quoting == csv.QUOTE_MINIMAL and any(set(cell) & set("\r\n") - set(end) for cells in table for cell in cells):
            return  # this writer leaves the other line break without quotes: the file says something else
        while table and not any(table[-1]):  # empty rows at the end are left out
            table.pop()
        starts = starts[: len(table) + 1]
        if rows is not None:
            if not all(map(is_writable, (cell for cells in table for cell in cells))) and is_korean(Path(name).read_bytes()):
                return  # half a surrogate is no UTF-8, and what stands there happens to be Hangul as Windows wrote it
            assert values(rows) == [dict(zip(header, cells, strict=True)) for cells in table]
            assert [row.where for row in rows] == [f"{name} line {start}" for start in starts[1:]]
            return
        guilty = [start for start, cells in zip(starts[1:], table) if not all(map(is_writable, cells))]
        # What a file can say in two ways.
        joined = "quotation marks hold lines together" in error and any("\n" in c or "\r" in c for r in table for c in r)
        if guilty and "not UTF-8" not in error and "neither UTF-8" not in error and "without the mark" not in error:
            assert joined or error.startswith(f"{name} line {guilty[0]}: ")
        elif not guilty:
            none_left = not table and "holds no rows" in error
            assert joined or none_left or ("header stands here once more" in error and header in table)


@EXAMPLES
def test_lines_come_back(examples):
    @fuzz(examples, content=texts)
    def check(content):
        assume(content)
        lines = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        expected = [(line, f"a.txt line {n}") for n, line in enumerate(lines, 1) if line and not line.isspace()]
        rows, error = read(write("a.txt", content))
        if rows is not None and "\0" in content:  # a NUL behind each character makes UTF-16 of ASCII
            assert not any("\0" in row.values["text"] for row in rows)
        elif rows is not None:
            assert [(row.values["text"], row.where) for row in rows] == expected
        else:
            assert not is_writable(content) or not expected, error


@EXAMPLES
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_comes_back(examples, name):
    objects = st.lists(st.dictionaries(texts, json_values, min_size=1, max_size=3), min_size=1, max_size=3)

    @fuzz(examples, written=objects, ascii_only=st.booleans(), layout=st.integers(0, 2))
    def check(written, ascii_only, layout):
        dumped = [json.dumps(row, ensure_ascii=ascii_only) for row in written]
        expected = [json.loads(text) for text in dumped]  # json joins two halves of a surrogate pair
        as_lines = name == "a.jsonl" or layout == 0
        if as_lines:
            content = "\n".join(dumped)
        elif layout == 1:
            content = "[" + ",\n".join(dumped) + "]"
        else:
            content = '{"version": 1, "data": [' + ",".join(dumped) + "]}"
        rows, error = read(write(name, content))
        if rows is not None:
            assert same(values(rows), expected)
            return
        if "neither UTF-8" in error:
            assert not is_writable(content)
        elif not any("paragraphs" in row or "qas" in row or "data" in row for row in expected):
            bad = next(n for n, row in enumerate(expected, 1) if not all(map(is_sound, [*row, *row.values()])))
            unit = "line" if as_lines and (name == "a.jsonl" or len(dumped) > 1) else "row"
            assert error.startswith(f"{name} {unit} {bad}: "), error


@EXAMPLES
def test_a_key_that_stands_twice_is_never_the_last_one_silently(examples):
    @fuzz(examples, before=json_values, value=json_values, depth=st.integers(0, 3), rows=st.integers(0, 3))
    def check(before, value, depth, rows):
        twice = '{"text": ' + json.dumps(before) + ', "text": ' + json.dumps(value) + "}"
        for level in range(depth):
            twice = f"[{twice}]" if level % 2 else '{"text": ' + twice + "}"
        assume(twice.startswith("{"))
        lines = ['{"text": "앞"}'] * rows + [twice]
        expected = ": the key 'text' stands twice in one object; only one of them can be meant"
        assert read(write("a.jsonl", "\n".join(lines)))[1].startswith(f"a.jsonl line {rows + 1}{expected}")
        assert read(write("a.json", f"[{','.join(lines)}]"))[1].startswith(f"a.json line 1{expected}")


@EXAMPLES
def test_nested_questions_come_back(examples):
    answers = st.lists(st.fixed_dictionaries({"text": texts, "answer_start": st.integers(0, 99)}), max_size=2)
    question = st.fixed_dictionaries({"id": texts, "question": texts, "answers": answers})
    paragraph = st.fixed_dictionaries({"context": texts, "qas": st.lists(question, max_size=2)})
    article = st.fixed_dictionaries({"title": texts, "paragraphs": st.lists(paragraph, max_size=2)})

    @fuzz(examples, articles=st.lists(article, min_size=1, max_size=2))
    def check(articles):
        text = json.dumps({"data": articles})
        expected = [
            (
                {"id": q["id"], "title": a["title"], "context": p["context"], "question": q["question"],
                 "answers": {key: [answer[key] for answer in q["answers"]] for key in ("text", "answer_start")}},
                f"qa.json article {i} paragraph {j} question {k}",
            )
            for i, a in enumerate(json.loads(text)["data"], 1)
            for j, p in enumerate(a["paragraphs"], 1)
            for k, q in enumerate(p["qas"], 1)
        ]  # fmt: skip
        rows, error = read(write("qa.json", text))
        if rows is not None:
            assert [(row.values, row.where) for row in rows] == expected
        elif expected:
            where = next(where for row, where in expected if not is_sound(row))
            assert error.startswith(f"{where}: column ")
        else:
            assert error == "qa.json holds no rows; give a file that has some"


@EXAMPLES
def test_parquet_comes_back(examples):
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = texts.filter(lambda text: re.search("[\ud800-\udfff]", text) is None)
    answers = st.fixed_dictionaries(
        {"text": st.lists(written, max_size=2), "answer_start": st.lists(st.integers(0, 9), max_size=2)}
    )
    row = st.fixed_dictionaries(
        {"text": written | st.none(), "long": written, "label": st.integers(0, 2), "score": st.floats(allow_nan=False),
         "answers": answers, "day": st.dates() | st.none(), "flag": st.booleans(), "kind": st.sampled_from(["a", "나"])}
    )  # fmt: skip
    schema = pa.schema(
        {"text": pa.string(), "long": pa.large_string(), "label": pa.int64(), "score": pa.float64(),
         "answers": pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int64())}), "day": pa.date32(),
         "flag": pa.bool_(), "kind": pa.dictionary(pa.int8(), pa.string())}
    )  # fmt: skip

    @fuzz(
        examples,
        rows=st.lists(row, min_size=1, max_size=5),
        compression=st.sampled_from(["none", "snappy", "gzip", "zstd"]),
        dictionary=st.booleans(),
        size=st.integers(1, 5),
        version=st.sampled_from(["1.0", "2.0"]),
    )
    def check(rows, compression, dictionary, size, version):
        pq.write_table(
            pa.Table.from_pylist(rows, schema), "a.parquet", compression=compression, use_dictionary=dictionary,
            row_group_size=size, data_page_version=version, write_page_checksum=True,
        )  # fmt: skip
        found, error = read("a.parquet")
        if found is not None:
            assert same(values(found), rows)
            assert [row.where for row in found] == [f"a.parquet row {n}" for n in range(1, len(rows) + 1)]
        else:
            number = next(n for n, row in enumerate(rows, 1) if not is_sound(row))
            assert error.startswith(f"a.parquet row {number}: column ")


@EXAMPLES
def test_korean_in_other_encodings_is_read_right_or_named(examples):
    codecs = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp949", "euc_kr", "utf-16-le", "utf-16-be", "utf-32-le", "johab"]

    @fuzz(examples, lines=st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), codec=st.sampled_from(codecs))
    def check(lines, codec):
        rows, _ = read(write("a.txt", "\n".join(lines).encode(codec)))
        if rows is not None:
            assert [row.values["text"] for row in rows] == lines
        else:
            assert codec in ("utf-16-le", "utf-16-be", "utf-32-le", "johab")


def sound_files() -> dict[str, bytes]:
    """One small file of each type."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = [{"text": "서울", "answer_start": 0}]
    qas = [{"id": "1", "question": "수도는?", "answers": answers}]
    nested = {"data": [{"title": "제목", "paragraphs": [{"context": "서울은 수도이다.", "qas": qas}]}]}
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": SENTENCES * 2, "n": [*range(10)]}), buffer)
    book, sheet = io.BytesIO(), openpyxl.Workbook()
    for cells in (["text", "n"], *([text, n] for n, text in enumerate(SENTENCES))):
        sheet.active.append(cells)
    sheet.save(book)
    return {
        "a.csv": ('text,label\n"그는 ""네""라고, 했다",1\n' + "\n".join(f"{text},0" for text in SENTENCES[:2])).encode(),
        "a.tsv": ('text\tlabel\n"탭\t안"\t1\n' + "\n".join(f"{text}\t0" for text in SENTENCES)).encode("cp949"),
        "a.json": json.dumps([{"text": text, "n": 1} for text in SENTENCES]).encode(),
        "b.json": json.dumps(nested, ensure_ascii=False).encode(),
        "a.jsonl": "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in SENTENCES).encode("utf-8-sig"),
        "a.txt": "\n".join(SENTENCES).encode("utf-16"),
        "a.parquet": buffer.getvalue(),
        "a.xlsx": book.getvalue(),
    }


@EXAMPLES
@pytest.mark.parametrize("name", sorted(sound_files()))
def test_damaged_files_end_in_rows_or_one_line(examples, name):
    content = sound_files()[name]
    change = st.tuples(st.integers(0, len(content)), st.integers(0, 8), st.binary(max_size=4) | st.sampled_from(
        [b'"', b'""', b"\n", b"\r", b"\0", b"{", b"}", b"[", b",", b"\t", b"\xff", b"\xef\xbb\xbf", b"\\ud800", b"1e999"]
    ))  # fmt: skip

    @fuzz(examples, changes=st.lists(change, min_size=1, max_size=3), end=st.none() | st.integers(1, len(content)))
    def check(changes, end):
        damaged = content[:end]
        for place, length, piece in changes:
            damaged = damaged[:place] + piece + damaged[place + length :]
        assume(damaged)
        rows, _ = read(write(name, damaged))
        assert rows is None or all(is_sound(row.values) for row in rows)
