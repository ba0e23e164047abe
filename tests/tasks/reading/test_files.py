"""Readers of files: what a row is, where it stands, and how each kind of damage is told."""

from __future__ import annotations

import builtins
import json
import random
import unicodedata
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.reading.charset import encoding_of
from tasks.reading.files import find_files, read_rows
from tasks.reading.rows import Row

KOREAN = "text,label\n안녕하세요 반갑습니다,0\n오늘은 비가 옵니다,1\n"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    """Every test works in its own folder, so that paths in messages are short and literal."""
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def rows(pattern: str) -> list[Row]:
    return list(read_rows(pattern))


def message(pattern: str) -> str:
    """The error of reading ``pattern``, checked to be one line."""
    with pytest.raises(UserError) as caught:
        rows(pattern)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# csv and tsv


def test_csv_rows_have_the_line_where_they_begin():
    write("train.csv", 'text,label\n"첫 줄\n둘째, 줄",0\n\n 셋째 ,1\r\n"그는 ""네""라고",2\n')
    assert rows("train.csv") == [
        Row({"text": "첫 줄\n둘째, 줄", "label": "0"}, "train.csv line 2"),
        Row({"text": " 셋째 ", "label": "1"}, "train.csv line 5"),
        Row({"text": '그는 "네"라고', "label": "2"}, "train.csv line 6"),
    ]


def test_csv_cell_longer_than_the_default_limit():
    write("train.csv", f"text\n{'가' * 200_000}\n")
    assert len(rows("train.csv")[0].values["text"]) == 200_000


def test_text_is_not_normalised():
    decomposed = "\u1112\u1161\u11ab\u00a0\u200b\ufeff "
    write("a.csv", f"text,label\n{decomposed},1\n")
    assert rows("a.csv")[0].values["text"] == decomposed


def test_tsv_of_a_spreadsheet_is_quoted():
    write("train.tsv", 'text\tlabel\n"탭\t안 ""말"""\t1\n')
    assert rows("train.tsv") == [Row({"text": '탭\t안 "말"', "label": "1"}, "train.tsv line 2")]


def test_tsv_with_bare_quotation_marks_is_not_quoted():
    write("train.tsv", 'text\tlabel\n"네" 하고 말했다\t1\n"아니\t0\n')
    assert [row.values["text"] for row in rows("train.tsv")] == ['"네" 하고 말했다', '"아니']


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "text,label\n하나,1\n둘,2,3\n",
            "train.csv line 3: 3 cells, but the header has 2 (text, label); "
            "put cells that hold a separator or a line break in double quotes",
        ),
        (
            'text,label\n"한\n줄",1\n둘\n',
            "train.csv line 4: 1 cells, but the header has 2 (text, label); "
            "put cells that hold a separator or a line break in double quotes",
        ),
        (
            'text,label\n하나,1\n"둘,2\n셋,3\n',
            "train.csv line 3: unexpected end of data; inside a quoted cell write a double quote twice",
        ),
        (
            'text,label\n"하나"둘,1\n',
            "train.csv line 2: ',' expected after '\"'; inside a quoted cell write a double quote twice",
        ),
        ("text,,label\n하나,x,0\n", "train.csv line 1: column 2 of the header has no name; give it one"),
        (
            "text,label,\n하나,0,x\n",
            "train.csv line 2: its last cell has no name in the header; name that column, or quote commas",
        ),
        ("text,label, text\na,b,c\n", "train.csv line 1: two columns of the header are called 'text'; rename one"),
        ("text,label\n", "train.csv holds no rows; give a file that has some"),
        ("text\n하\0나\n", "train.csv line 2: column 'text' holds a NUL character, as character 2; remove it"),
    ],
)
def test_csv_errors(content, expected):
    write("train.csv", content)
    assert message("train.csv") == expected


def test_csv_cell_over_the_limit(monkeypatch):
    monkeypatch.setattr("tasks.reading.delimited.CELL_LIMIT", 100)
    write("train.csv", f'text\n하나\n"{"가" * 101}\n')
    assert message("train.csv").startswith("train.csv line 3: field larger than field limit (100)")


# json and jsonl


def test_jsonl_rows():
    write("a.jsonl", '{"text": "하나\\n둘", "n": NaN}\r\n\n{"text": "\u2028", "n": null}')
    first, second = rows("a.jsonl")
    assert (first.values["text"], first.where) == ("하나\n둘", "a.jsonl line 1")
    assert first.values["n"] != first.values["n"]
    assert second == Row({"text": "\u2028", "n": None}, "a.jsonl line 3")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "둘"', "a.jsonl line 2: not valid JSON (Expecting ',' delimiter at column 13); mend it"),
        (
            "{'text': 1}",
            "a.jsonl line 2: not valid JSON (Expecting property name enclosed in double quotes at column 2)",
        ),
        ('["둘"]', 'a.jsonl line 2: list where an object with the columns is expected, such as {"text": "..."}'),
        ("{}", 'a.jsonl line 2: an empty object where an object with the columns is expected, such as {"text": "..."}'),
        (
            '{"text": "앗 \\ud83d"}',
            "a.jsonl line 2: column 'text' holds half of a surrogate pair (such as \\ud83d), as character 3; remove it",
        ),
        (
            '{"text": {"deep": ["ok", "\\udc00"]}}',
            "a.jsonl line 2: column 'text' holds half of a surrogate pair (such as \\ud83d), as character 1; remove it",
        ),
        ('{"text": "\\u0000"}', "a.jsonl line 2: column 'text' holds a NUL character, as character 1; remove it"),
        ('{"\\ud800": 1}', "a.jsonl line 2: column '\\ud800' holds half of a surrogate pair (such as \\ud83d)"),
        ("[" * 200_000, "a.jsonl line 2: the JSON is nested too deeply; flatten it"),
        ("1" * 5_000, "a.jsonl line 2: JSON that cannot be read (Exceeds the limit (4300 digits)"),
    ],
)
def test_jsonl_errors(line, expected):
    write("a.jsonl", '{"text": "하나"}\n' + line + "\n")
    assert message("a.jsonl").startswith(expected)


def test_whole_surrogate_pair_is_fine():
    write("a.jsonl", '{"text": "\\ud83d\\ude00"}\n')
    assert rows("a.jsonl")[0].values == {"text": "😀"}


@pytest.mark.parametrize("content", ['[{"a": 1}, {"a": 2}]', '{"version": "1", "data": [{"a": 1}, {"a": 2}]}'])
def test_json_lists(content):
    write("a.json", content)
    assert rows("a.json") == [Row({"a": 1}, "a.json row 1"), Row({"a": 2}, "a.json row 2")]


def test_json_that_is_jsonl():
    write("a.json", '{"a": 1}\n\n{"a": 2}\n')
    assert rows("a.json") == [Row({"a": 1}, "a.json line 1"), Row({"a": 2}, "a.json line 3")]
    write("a.json", '{"a": 1}\n')
    assert rows("a.json") == [Row({"a": 1}, "a.json row 1")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[\n{"a": 1},\n{"a" 2}]', "a.json line 3: not valid JSON (Expecting ':' delimiter at column 6); mend it"),
        ('{"a": 1}\n{"a" 2}\n', "a.json line 2: not valid JSON (Expecting ':' delimiter at column 6); mend it"),
        ('{"data": {"a": 1}}', "a.json: a list of objects is expected, or an object with such a list under 'data'"),
        ("3", "a.json: a list of objects is expected, or an object with such a list under 'data'"),
        ('[{"a": 1}, 2]', 'a.json row 2: int where an object with the columns is expected, such as {"text": "..."}'),
        ("[]", "a.json holds no rows; give a file that has some"),
        (" \n", "a.json holds no rows; give a file that has some"),
        ('{"a":' * 200_000, "a.json line 1: the JSON is nested too deeply; flatten it"),
    ],
)
def test_json_errors(content, expected):
    write("a.json", content)
    assert message("a.json") == expected


def nested(qas: list | None) -> str:
    """A SQuAD file with two paragraphs, the second of which holds ``qas``."""
    paragraphs = [{"context": "첫 문단", "qas": []}, {"context": "서울은 수도이다.", "qas": qas}]
    return json.dumps({"version": "KorQuAD_v1.0", "data": [{"title": "서울", "paragraphs": paragraphs}]})


def test_nested_json_becomes_one_row_a_question():
    answers = [{"text": "서울", "answer_start": 0}, {"text": "서울은", "answer_start": 0}]
    impossible = {"id": "q2", "question": "왜?", "answers": [], "is_impossible": True, "plausible_answers": answers}
    write("qa.json", nested([{"id": "q1", "question": "수도는?", "answers": answers}, impossible, {"question": "답?"}]))
    base = {"title": "서울", "context": "서울은 수도이다."}
    no_answer = {"text": [], "answer_start": []}
    assert rows("qa.json") == [
        Row(
            {"id": "q1", "question": "수도는?", "answers": {"text": ["서울", "서울은"], "answer_start": [0, 0]}} | base,
            "qa.json article 1 paragraph 2 question 1",
        ),
        Row(
            {"id": "q2", "question": "왜?", "answers": no_answer} | base,
            "qa.json article 1 paragraph 2 question 2",
        ),
        Row(
            {"id": None, "question": "답?", "answers": no_answer} | base,
            "qa.json article 1 paragraph 2 question 3",
        ),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (nested([{"question": "?", "answer": {"text": "a"}}]), "qa.json article 1 paragraph 2 question 1: this is the"),
        ('{"data": [{"title": "t", "context": "c", "qas": []}]}', "qa.json article 1: this is the layout of KorQuAD 2"),
        (nested([{"id": 1}]), "qa.json article 1 paragraph 2 question 1: 'question' is missing"),
        (nested(["?"]), "qa.json article 1 paragraph 2 question 1: 'question' is missing"),
        (nested([{"question": "?", "answers": ["a"]}]), "qa.json article 1 paragraph 2 question 1: 'answers' must be"),
        (nested([{"question": "?", "answers": [{"text": [3]}]}]), "qa.json article 1 paragraph 2 question 1: 'answers'"),
        (nested(None), "qa.json article 1 paragraph 2: an object with a list 'qas' is expected here"),
        ('{"data": [{"paragraphs": 3}]}', "qa.json article 1: an object with a list 'paragraphs' is expected here"),
        ('{"data": [{"paragraphs": []}, 3]}', "qa.json article 2: an object with a list 'paragraphs' is expected here"),
    ],
)
def test_nested_json_errors(content, expected):
    write("qa.json", content)
    assert message("qa.json").startswith(expected)


# txt and parquet


def test_txt_is_one_text_a_line():
    write("a.txt", " 하나 \r\n\n \n둘\u2028셋\n넷")
    assert rows("a.txt") == [
        Row({"text": " 하나 "}, "a.txt line 1"),
        Row({"text": "둘\u2028셋"}, "a.txt line 4"),
        Row({"text": "넷"}, "a.txt line 5"),
    ]


def test_parquet_rows():
    import pyarrow as pa
    import pyarrow.parquet as pq

    answers = {"text": ["서울"], "answer_start": [0]}
    pq.write_table(pa.table({"text": ["하나", None], "answers": [answers, answers]}), "x.parquet")
    assert rows("x.parquet") == [
        Row({"text": "하나", "answers": answers}, "x.parquet row 1"),
        Row({"text": None, "answers": answers}, "x.parquet row 2"),
    ]


def test_parquet_errors():
    import pyarrow as pa
    import pyarrow.parquet as pq

    write("x.parquet", b"PAR1 this is not parquet PAR1")
    assert message("x.parquet").startswith("x.parquet cannot be read as parquet after row 0: ")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), "x.parquet")
    assert message("x.parquet") == "x.parquet holds no rows; give a file that has some"
    pq.write_table(pa.table({"text": ["하나", "둘\0"]}), "x.parquet")
    assert message("x.parquet") == "x.parquet row 2: column 'text' holds a NUL character, as character 2; remove it"
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), "x.parquet")
    assert message("x.parquet") == "x.parquet: two columns have the same name; rename one"


# paths


def test_missing_file_suggests_a_neighbour():
    Path("data").mkdir()
    write("data/train.csv", KOREAN)
    assert message("data/trian.csv") == "there is no file data/trian.csv; did you mean data/train.csv?"
    assert message("nowhere/train.csv") == "there is no file nowhere/train.csv; there is no folder nowhere either"
    assert message("data/zzz.parquet").startswith("there is no file data/zzz.parquet; nothing in ")


KNOWN = ".csv, .tsv, .xlsx, .json, .jsonl, .ndjson, .jsonlines, .txt, .parquet"


def test_paths_that_are_no_data_files():
    Path("data").mkdir()
    write("data.xls", "x")
    write("empty.csv", "")
    assert message("data") == ("data is a folder without a file that is read; those that are: " + KNOWN)
    assert message("data/*.csv").startswith("no file matches data/*.csv; ")
    assert message("empty.csv") == "empty.csv is empty; give a file that has rows"
    assert message("data.xls") == ("data.xls: the file type is not known; those that are read: " + KNOWN)
    Path("broken.csv").symlink_to("gone.csv")
    assert message("broken.csv") == "broken.csv is not a regular file; save the data to one first"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.parquet", "a.xlsx"])
def test_file_without_permission(name, monkeypatch):
    write(name, KOREAN)
    original = builtins.open

    def refuse(path, *args, **kwargs):
        if path == name:
            raise PermissionError(13, "Permission denied", name)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)
    assert message(name) == f"{name} cannot be read: Permission denied; check the file"


def test_glob_reads_files_of_several_types_in_order():
    write("b.jsonl", '{"text": "셋", "label": "2"}\n')
    write("a.CSV", "text,label\n하나,0\n둘,1\n")
    Path("c.csv").mkdir()
    assert find_files("[abc].*") == ["a.CSV", "b.jsonl"]
    assert [(row.values["text"], row.where) for row in read_rows("[abc].*")] == [
        ("하나", "a.CSV line 2"),
        ("둘", "a.CSV line 3"),
        ("셋", "b.jsonl line 1"),
    ]


def test_glob_of_files_with_different_columns():
    write("a.csv", "text,label\n하나,0\n")
    write("b.csv", "text,score\n하나,0\n")
    assert [row.values for row in rows("*.csv")] == [{"text": "하나", "label": "0"}, {"text": "하나", "score": "0"}]


def test_name_with_brackets_is_no_glob():
    write("train[1].txt", "하나\n")
    assert rows("train[1].txt") == [Row({"text": "하나"}, "train[1].txt line 1")]


# encodings


@pytest.mark.parametrize(
    ("codec", "name"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("cp949", "cp949"), ("euc_kr", "cp949")],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_encodings(codec, name, kind):
    content = {"csv": KOREAN, "jsonl": '{"text": "안녕하세요 반갑습니다"}\n', "txt": "안녕하세요 반갑습니다\n"}[kind]
    path = write(f"a.{kind}", content.encode(codec))
    assert encoding_of(path) == name
    assert rows(path)[0].values["text"] == "안녕하세요 반갑습니다"


def test_utf_16_big_endian():
    path = write("a.txt", b"\xfe\xff" + "안녕\n".encode("utf-16-be"))
    assert rows(path)[0].values == {"text": "안녕"}


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("line", ["a word,label", "서울은 대한민국의 수도이다.,0", "ㅋㅋㅋ “오늘”은 뭐해,1"])
def test_utf_16_without_a_mark(codec, line):
    path = write("a.txt", f"{line}\n{line}\n".encode(codec))
    assert encoding_of(path) == codec
    assert [row.values["text"] for row in rows(path)] == [line, line]
    write("b.csv", f"text,label\n{line}\n".encode(codec))
    assert [list(row.values.values()) for row in rows("b.csv")] == [line.split(",")]
    write("a.txt", f"{line}\n".encode(codec)[:-1])
    assert f"begins as {codec.upper()} but has a broken byte" in message("a.txt")


@pytest.mark.parametrize(("text", "codec"), [("가나\0\n", "cp949"), ("가나다\0\n", "utf-8"), ("abc\0\n", "utf-8")])
def test_a_nul_does_not_make_utf_16(text, codec):
    write("a.txt", (text * 2).encode(codec))
    assert message("a.txt").startswith("a.txt line 1: ")
    assert "NUL" in message("a.txt")


def test_cp949_beyond_euc_kr():
    path = write("a.txt", "펲시를 마시는 똠방각하와 햏자의 이야기가 오늘도 계속됩니다\n".encode("cp949"))
    assert rows(path)[0].values["text"].startswith("펲시를 마시는 똠방각하")


def test_cp949_with_hanja_and_symbols():
    text = "“대통령”은 국회(國會)에서 연설했다… ①경제 ②외교 ㈜한국 ※참고\n"
    assert rows(write("a.txt", text.encode("cp949")))[0].values["text"] == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "ㅋㅋㅋ ㅎㅎ ㅠㅠ", "오늘 뭐해 ㅋㅋㅋㅋ ㅇㅋ", "朝鮮 王朝 實錄에 이르기를", "大韓民國 憲法", "① ㈜ ※ ½ ㎏ →",
        "ひらがな カタカナ", "привет αβγ", "헐", "쌀ㆍ보리ㆍ콩",
    ],
)  # fmt: skip
def test_valid_cp949_may_hold_anything(text):
    assert rows(write("a.txt", f"{text}\n".encode("cp949")))[0].values["text"] == text


def test_broken_utf_8_names_line_and_byte():
    write("a.csv", "text\n안녕\n하세".encode() + b"\xff" + "요\n".encode())
    assert message("a.csv") == (
        "a.csv line 3: the file is neither UTF-8 nor Korean CP949: it has a broken byte at offset 18; "
        "mend it, or save the file as UTF-8"
    )


@pytest.mark.parametrize(("codec", "offset"), [("utf-8", 100_000), ("cp949", 70_000), ("utf-16", 80_002)])
def test_broken_byte_far_into_a_file(codec, offset):
    content = ("가나다\n" * 10_000).encode(codec)  # blocks that are read at a time end within characters
    write("a.txt", content)
    assert len(rows("a.txt")) == 10_000
    write("a.txt", content + (b"\xea\xb0\n" if codec == "utf-8" else b"\xc9" if codec == "cp949" else b"\x00\xdc"))
    assert message("a.txt").startswith("a.txt line 10001: ")
    assert f" at offset {offset};" in message("a.txt")
    assert len(content) == offset


def test_broken_utf_16():
    write("a.txt", "가\n나\n".encode("utf-16-le").join([b"\xff\xfe", b"\x00\xd8"]))
    assert message("a.txt") == (
        "a.txt line 3: the file begins as UTF-16 but has a broken byte at offset 10; mend it, or save the file as UTF-8"
    )


def test_damaged_utf_8_is_never_taken_for_cp949():
    sentence = "대한민국의 수도는 서울이며, 제2의 도시는 부산이다. GPT-2는 언어 모델이다.\n".encode()
    generator = random.Random(0)
    for trial in range(300):
        damaged = bytearray(sentence)
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(damaged))
            if generator.random() < 0.5:
                del damaged[place]
            else:
                damaged[place] = generator.randrange(128, 256)
        path = write("a.txt", bytes(damaged))
        try:
            assert encoding_of(path) == "utf-8", trial
        except UserError as error:
            assert "neither UTF-8 nor Korean CP949" in str(error)


def test_damaged_utf_8_that_is_valid_cp949():
    # Pairs of syllables whose six bytes are three characters of CP949, and one character cut short.
    valid = []
    for code in range(ord("가"), ord("힣")):
        pair = (chr(code) * 2).encode()
        try:
            pair.decode("cp949")
            valid.append(chr(code) * 2)
        except UnicodeDecodeError:
            pass
    damaged = "".join(valid[:200]).encode() + b"\xb0\xa1"
    damaged.decode("cp949")
    assert len(valid) >= 200
    write("a.txt", damaged)
    assert "neither UTF-8 nor Korean CP949" in message("a.txt")


@pytest.mark.parametrize(
    "content",
    [
        "café au lait, naïve, señor".encode("latin-1"),
        "中文文本不是韩文，这里有很多汉字。我们在学习语言模型。".encode("gbk"),
        "これは日本語の文章です。韓国語ではありません。".encode("euc_jp"),
        "これは日本語の文章です。".encode("shift_jis"),
        bytes(range(256)),
    ],
)
def test_other_encodings_are_refused(content):
    write("a.txt", content)
    assert "a.txt line 1: the file is neither UTF-8 nor Korean CP949" in message("a.txt").replace("line 2", "line 1")


@pytest.mark.parametrize(("typed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_however_its_hangul_is_written(typed, stored):
    Path(unicodedata.normalize(stored, "학습데이터.txt")).write_text("비가 온다.\n", "utf-8")
    assert find_files(unicodedata.normalize(typed, "학습데이터.txt")) == [unicodedata.normalize(stored, "학습데이터.txt")]


@pytest.mark.parametrize(
    "text",
    [
        ",text,label\n0,하나,0\n1,둘,1\n",  # pandas with its index
        "text,label,\n하나,0,\n둘,1,\n",
        "text,label\n하나,0,\n둘,1,\n",
        "sep=;\r\ntext;label\r\n하나;0\r\n둘;1\r\n",
        '"text";"label"\n"하나";"0"\n"둘";"1"\n',
        '"text"|"label"\n"하나"|"0"\n"둘"|"1"\n',
        '"text"\t"label"\n"하나"\t"0"\n"둘"\t"1"\n',
    ],
)
def test_what_spreadsheets_and_pandas_do_to_a_table_is_no_obstacle(text):
    write("a.csv", text)
    assert [row.values for row in rows("a.csv")] == [{"text": "하나", "label": "0"}, {"text": "둘", "label": "1"}]


@pytest.mark.parametrize("suffix", ["ndjson", "jsonlines"])
def test_other_names_of_jsonl(suffix):
    write(f"a.{suffix}", '{"text": "하나"}\n')
    assert rows(f"a.{suffix}") == [Row({"text": "하나"}, f"a.{suffix} line 1")]
