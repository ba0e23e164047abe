"""Files made to hang a reader, to fill the memory, or to be read as other rows than were written: one line, and soon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks import get_task
from tasks.errors import UserError
from tasks.reading.columns import load_rows
from tasks.reading.files import find_files, read_rows
from tests.helpers.fuzz import deadline

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with deadline(60):
        yield


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def message(pattern: str) -> str:
    with pytest.raises(UserError) as caught:
        list(read_rows(pattern))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
    return str(caught.value)


# Large


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.parquet"])
def test_ten_megabytes_in_one_field(name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = '가나다라 "마바" </s> ' * 400_000  # ten million bytes
    quoted = '"' + text.replace('"', '""') + '"'
    row = json.dumps({"text": text}, ensure_ascii=False)
    contents = {
        "a.csv": f"text\n{quoted}\n",
        "a.tsv": f"text\n{quoted}\n",
        "a.json": f"[{row}]",
        "a.jsonl": row,
        "a.txt": text,
    }
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [text]}), name)
    else:
        write(name, contents[name])
    (row,) = read_rows(name)
    assert row.values == {"text": text}


def test_a_hundred_thousand_columns():
    names = [f"c{i}" for i in range(99_999)] + ["text"]
    values = ["1"] * 99_999 + ["안녕"]
    row = json.dumps(dict(zip(names, values)))
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        write(name, f"{separator.join(names)}\n{separator.join(values)}\n")
    write("a.json", f"[{row}]")
    write("a.jsonl", row)
    for name in ("a.csv", "a.tsv", "a.json", "a.jsonl"):
        loaded = load_rows(read_rows(name), get_task("generate"), {}, name)
        assert loaded.data["text"][:] == ["안녕"], name
    with pytest.raises(UserError, match=r"no column 'document' .*; the columns there are c0, c1, .*, c19, \.\.\.; if one"):
        load_rows(read_rows("a.csv"), get_task("summarize"), {"summary": "text"}, "a.csv")
    write("b.csv", f"{','.join(names[1:])}\n{','.join(values[1:])}\n")
    assert len(list(read_rows("?.csv"))) == 2
    write("c.csv", f"{','.join(names)},c7\n")
    assert message("c.csv") == "c.csv line 1: two columns of the header are called 'c7'; rename one"


def test_parquet_with_many_columns():
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({**{f"c{i}": ["1"] for i in range(5000)}, "text": ["안녕"]}), "a.parquet")
    (row,) = read_rows("a.parquet")
    assert row.values["text"] == "안녕" and len(row.values) == 5001


# Deep and wide


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"text":' * 100_000, "[" * 100_000 + "]" * 100_000, '[{"a":' * 50_000])
@pytest.mark.parametrize("around", ["%s", '{"text": %s}', '{"data": %s}', '[{"text": "안녕", "deep": %s}]'])
def test_json_nested_a_hundred_thousand_deep(bomb, around):
    for name in ("a.json", "a.jsonl"):
        write(name, around % bomb)
        assert message(name) == f"{name} line 1: the JSON is nested too deeply; flatten it"


@pytest.mark.parametrize("depth", [21, 100, 400])
def test_json_that_can_be_parsed_but_not_walked(depth):
    row = '{"text": "안녕", "deep": ' + "[" * depth + "]" * depth + "}"
    write("a.jsonl", row)
    assert message("a.jsonl") == "a.jsonl line 1: column 'deep' is nested more than 20 deep; flatten it"
    write("a.json", f"[{row}]")
    assert message("a.json") == "a.json row 1: column 'deep' is nested more than 20 deep; flatten it"


def test_twenty_deep_is_read():
    write("a.jsonl", '{"deep": ' + "[" * 20 + "1" + "]" * 20 + "}")
    assert len(list(read_rows("a.jsonl"))) == 1


def test_wide_json():
    write("a.json", "[" + ",".join(["[]"] * 200_000) + "]")
    assert message("a.json").startswith("a.json row 1: list where an object with the columns is expected")
    write("a.jsonl", json.dumps({"text": "안녕", "wide": {str(i): [] for i in range(100_000)}}))
    assert len(list(read_rows("a.jsonl"))) == 1


def test_parquet_that_unfolds(monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("tasks.reading.parquet_rows.UNFOLDED_BYTES", 1 << 20)
    pq.write_table(pa.table({"text": ["가" * 1_000_000]}), "a.parquet", compression="zstd")
    assert os.path.getsize("a.parquet") < 10_000
    error = message("a.parquet")
    assert error.startswith("a.parquet unfolds to ") and "1,048,576 is the most for a file of its size" in error


def test_proportion_is_to_the_size_of_the_file(monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("tasks.reading.parquet_rows.UNFOLDED_BYTES", 1 << 10)
    texts = ["".join(chr(0xAC00 + (i * 7919 + j * 104_729) % 11_172) for j in range(500)) for i in range(100)]
    pq.write_table(pa.table({"text": texts * 3}), "a.parquet")
    assert [row.values["text"] for row in read_rows("a.parquet")] == texts * 3


# Other than was written


def test_lines_that_quotation_marks_may_or_may_not_hold_together():
    content = 'text{0}label\n하나{0}1\n"둘{0}2\n셋"{0}3\n'
    for name, separator in (("a.csv", ","), ("a.tsv", "\t")):
        write(name, content.format(separator))
        assert message(name) == (
            f"{name} line 3: quotation marks hold lines together here, but every line of the file has 2 cells without them, "
            "too; write a quotation mark that is text twice, in quotes, or save the file as jsonl"
        )
    write("a.csv", 'text\n"하나\n둘"\n')  # in csv this is how two lines of text are written
    assert [row.values for row in read_rows("a.csv")] == [{"text": "하나\n둘"}]


def test_a_carriage_return_that_may_or_may_not_end_a_row():
    for name in ("a.csv", "a.tsv"):
        write(name, "text\n하나\r둘\n셋\n")
        assert message(name) == (
            f"{name} line 2: some rows end in a bare carriage return, others do not; quote cells with line breaks"
        )
    for end in ("\r", "\r\n", "\n"):
        write("a.csv", f'text{end}"하나\r둘"{end}셋')
        assert [row.values["text"] for row in read_rows("a.csv")] == ["하나\r둘", "셋"]


def test_a_header_in_the_middle_of_joined_files():
    write("a.csv", "text,label\n하나,1\ntext,label\n둘,2\n")
    assert message("a.csv") == "a.csv line 3: the header stands here once more, as where files were joined; remove it"


def test_repeated_keys_are_named_with_their_values():
    paragraphs = '[{"context": "서울", "qas": [{"question": "?", "question": "!", "answers": []}]}]'
    write("a.json", '{"data": [{"paragraphs": []}, {"paragraphs": %s}]}' % paragraphs)  # noqa: UP031
    assert message("a.json") == (
        "a.json line 1: the key 'question' stands twice in one object; only one of them can be meant: '?' or '!'"
    )
    write("a.json", '{"data": [{"text": 1}],\n"data": [{"text": 2}]}')
    assert message("a.json") == (
        "a.json: the key 'data' stands twice in one object; only one of them can be meant: [{'text': 1}] or [{'text': 2}]"
    )


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_a_file_whose_encoding_changes_while_it_is_read(name):
    rows = [{"text": f"안녕 {i}"} for i in range(30_000)]  # more than a buffer of the file
    lines = [json.dumps(row, ensure_ascii=False) if name == "a.jsonl" else row["text"] for row in rows]
    content = "\n".join(["text", *lines] if name != "a.jsonl" else lines).encode()
    reading = read_rows(write(name, content))
    next(reading)
    write(name, content[:-20_000] + "안녕".encode("cp949") * 5000)
    with pytest.raises(UserError) as caught:
        list(reading)
    assert str(caught.value) == f"{name} was changed while it was read; run again when it is written"


def test_parquet_text_that_was_changed_on_disk_is_not_believed():
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["anna", "otto"]}), "a.parquet", compression="none", write_page_checksum=True)
    content = Path("a.parquet").read_bytes()
    write("a.parquet", content.replace(b"anna", b"anno", 1))
    assert message("a.parquet").startswith("a.parquet cannot be read as parquet after row 0: ")


def test_a_broken_byte_in_korean_cp949_is_named():
    write("a.txt", "안녕하세요 여러분\n".encode("cp949") * 3 + b"\xb0\n")
    assert message("a.txt").startswith("a.txt line 4: the file is Korean CP949 (EUC-KR) but has a broken byte at offset 54;")


def test_utf_32_with_its_mark_is_read():
    write("a.txt", "안녕\n".encode("utf-32"))
    assert [row.values["text"] for row in read_rows("a.txt")] == ["안녕"]


# Paths


def test_what_is_no_file_is_never_opened():
    os.mkfifo("a.jsonl")
    os.symlink("/dev/zero", "b.txt")
    os.symlink("c.csv", "c.csv")
    os.mkdir("d.csv")
    for name in ("a.jsonl", "b.txt", "c.csv"):
        assert message(name) == f"{name} is not a regular file; save the data to one first"
        assert message(f"{name[0]}.*") == f"{name} is not a regular file; save the data to one first"
    assert message("d.csv").startswith("d.csv is a folder without a file that is read; those that are: .csv, ")
    assert message("/dev/zero").startswith("/dev/zero: the file type is not known")
    assert message("x\0/a.csv").startswith("there is no file x\0/a.csv; there is no folder")


def test_two_stars_walk_into_folders():
    for folder in ("x", "x/y", ".hidden", "x/[1]"):
        os.makedirs(folder)
        write(f"{folder}/a.txt", "안녕\n")
    write("a.txt", "안녕\n")
    assert find_files("**/*.txt") == ["a.txt", "x/[1]/a.txt", "x/a.txt", "x/y/a.txt"]
    assert find_files("x/**") == ["x/[1]/a.txt", "x/a.txt", "x/y/a.txt"]


def test_thousands_of_files():
    os.mkdir("many")
    for i in range(2000):
        write(f"many/{i:04}.txt", f"안녕 {i}\n")
    assert [row.values["text"] for row in read_rows("many/*.txt")] == [f"안녕 {i}" for i in range(2000)]


def test_a_name_that_is_not_utf_8():
    with open("안녕.txt".encode("cp949"), "wb") as file:
        file.write("안녕\n".encode())
    assert message("*.txt") == "'\\udcbe\\u0233\\udce7.txt': the name of the file is not UTF-8; rename it"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission():
    write("a.csv", "text\n안녕\n")
    os.chmod("a.csv", 0)
    assert message("a.csv") == "a.csv cannot be read: Permission denied; check the file"


def test_names_that_would_move_the_terminal_are_spelled_out():
    write("a.csv", "te\u202ext\x1b[31m,label\n하나,1\n")
    with pytest.raises(UserError) as caught:
        load_rows(read_rows("a.csv"), get_task("generate"), {}, "a.csv")
    assert "the columns there are 'te\\u202ext\\x1b[31m', label;" in str(caught.value)
