"""KakaoTalk's exports of four programs: the same conversations, system lines left out and counted, no names."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import strategies as st

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.errors import UserError
from tasks.publishing.facts import command
from tasks.reading.files import read_files
from tasks.reading.kakaotalk import is_export, read_kakaotalk
from tasks.reading.sources import find_source
from tests.helpers.fuzz import EXAMPLES, fuzz, texts

WINDOWS = """김철수 님과 카카오톡 대화
저장한 날짜 : 2024-12-09 01:01:22

--------------- 2024년 12월 8일 일요일 ---------------
[김철수] [오후 2:30] 안녕
[김철수] [오후 2:30] 뭐 해?
[홍길동] [오후 2:31] 책 읽어

셋째 줄
[김철수] [오후 2:33] 사진
이영희님이 들어왔습니다.
--------------- 2024년 12월 9일 월요일 ---------------
[김철수] [오전 12:10] 자?
[홍길동] [오전 12:11] 아니
[김철수] [오후 11:00] 파일: a.pdf
"""
ANDROID = """김철수 님과 카카오톡 대화
저장한 날짜 : 2024년 12월 9일 오전 1:01

2024년 12월 8일 오후 2:30
2024년 12월 8일 오후 2:30, 김철수 : 안녕
2024년 12월 8일 오후 2:30, 김철수 : 뭐 해?
2024년 12월 8일 오후 2:31, 홍길동 : 책 읽어

셋째 줄
2024년 12월 8일 오후 2:33, 김철수 : 사진
2024년 12월 8일 오후 2:33, 이영희님이 들어왔습니다.
2024년 12월 9일 오전 12:10
2024년 12월 9일 오전 12:10, 김철수 : 자?
2024년 12월 9일 오전 12:11, 홍길동 : 아니
2024년 12월 9일 오후 11:00, 김철수 : 파일: a.pdf
"""
IOS = """김철수 님과 카카오톡 대화
저장한 날짜 : 2024. 12. 9. 오전 1:01

2024년 12월 8일 일요일
2024. 12. 8. 오후 2:30, 김철수 : 안녕
2024. 12. 8. 오후 2:30, 김철수 : 뭐 해?
2024. 12. 8. 14:31, 홍길동 : 책 읽어

셋째 줄
2024. 12. 8. 14:33, 김철수 : 사진
2024. 12. 8. 14:33, 이영희님이 들어왔습니다.
2024년 12월 9일 월요일
2024. 12. 9. 오전 12:10, 김철수 : 자?
2024. 12. 9. 00:11, 홍길동 : 아니
2024. 12. 9. 오후 11:00, 김철수 : 파일: a.pdf
"""
MAC = """Date,User,Message
2024-12-08 14:30:00,"김철수","안녕"
2024-12-08 14:30:10,"김철수","뭐 해?"
2024-12-08 14:31:00,"홍길동","책 읽어

셋째 줄"
2024-12-08 14:33:00,"김철수","사진"
2024-12-08 14:33:00,"이영희","이영희님이 들어왔습니다."
2024-12-09 00:10:00,"김철수","자?"
2024-12-09 00:11:00,"홍길동","아니"
2024-12-09 23:00:00,"김철수","파일: a.pdf"
"""
EXPORTS = {"windows.txt": WINDOWS, "android.txt": ANDROID, "ios.txt": IOS, "mac.csv": MAC}

TALKS = [
    [("user", "안녕\n뭐 해?"), ("assistant", "책 읽어\n\n셋째 줄")],
    [("user", "자?"), ("assistant", "아니")],
]


def written(folder, name: str, text: str, encoding: str = "utf-8") -> str:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return str(path)


def read(path: str, assistant: str | None = "홍길동", hours: float = 3.0):
    counts: Counter[str] = Counter()
    rows = list(read_kakaotalk(path, counts, assistant, hours))
    return [[(turn["role"], turn["content"]) for turn in row.values["messages"]] for row in rows], +counts, rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("name", EXPORTS)
def test_every_program_gives_the_same_conversations(tmp_path, name, encoding):
    path = written(tmp_path, name, EXPORTS[name], encoding)
    assert is_export(path)
    talks, counts, rows = read(path)
    assert talks == TALKS
    assert counts == {"messages_left_out": 3}
    assert rows[0].where == f"{path} line {2 if name.endswith('.csv') else 5}"


def test_a_longer_pause_is_allowed_by_the_flag(tmp_path):
    talks, _, _ = read(written(tmp_path, "a.txt", WINDOWS), hours=10)
    assert talks == [TALKS[0] + TALKS[1]]


def test_the_other_one_may_answer_and_what_has_no_answer_is_counted(tmp_path):
    talks, counts, _ = read(written(tmp_path, "a.txt", WINDOWS), "김철수")
    assert talks == []
    assert counts["conversations_without_answer"] == 2


@pytest.mark.parametrize(
    ("assistant", "reason"),
    [
        (None, "김철수, 홍길동 write there; say who answers with --assistant_name NAME"),
        ("길동", "nobody is called 길동: 김철수, 홍길동 write there; say who answers with --assistant_name NAME"),
    ],
)
def test_who_answers_has_to_be_said_and_be_there(tmp_path, assistant, reason):
    path = written(tmp_path, "a.txt", WINDOWS)
    with pytest.raises(UserError) as caught:
        read(path, assistant)
    assert str(caught.value) == f"{path}: {reason}"


def test_a_room_of_three_is_refused_with_its_names_or_read_against_all_others(tmp_path):
    text = WINDOWS + "[이영희] [오후 11:01] 나도 왔어\n[홍길동] [오후 11:02] 어서 와\n"
    path = written(tmp_path, "a.txt", text)
    with pytest.raises(UserError, match=r"김철수, 홍길동, 이영희 write there; .* all others are read as one$"):
        read(path, None)
    assert read(path)[0][-1] == [("user", "나도 왔어"), ("assistant", "어서 와")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("KakaoTalk Chats with Kim\nDate Saved : 2024-12-09 01:01:22\n", "a KakaoTalk export in another language"),
        ("[Kim] [2:30 PM] hello\n[Lee] [2:31 PM] hi\n", "a KakaoTalk export in another language"),
    ],
)
def test_another_language_is_named(tmp_path, text, reason):
    with pytest.raises(UserError, match=reason):
        is_export(written(tmp_path, "a.txt", text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("김철수 님과 카카오톡 대화\n", "no message could be read"),
        ("[김철수] [오후 2:30] 안녕\n", "line 1: no line with a date stands before it"),
        ("2024년 12월 8일 오후 2:30, 김철수 : 안녕\n", "only 김철수 writes there"),
        ("2024년 13월 8일 오후 2:30, 김철수 : 안녕\n", "line 1: there is no such date or time"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, reason):
    with pytest.raises(UserError, match=reason):
        read(written(tmp_path, "a.txt", text))


def test_a_damaged_line_of_a_mac_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.csv line 3: not a date, a user and a message"):
        read(written(tmp_path, "a.csv", "Date,User,Message\n2024-12-08 14:30:00,a,b\nx\n"))


def test_other_texts_are_no_export(tmp_path):
    assert not is_export(written(tmp_path, "a.txt", "안녕하세요.\n2024년에 있던 일\n"))
    assert not is_export(written(tmp_path, "a.csv", "date,user,message\n"))
    assert not is_export(written(tmp_path, "a.jsonl", WINDOWS))


def test_names_stay_out_of_what_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, "KakaoTalk_20241209_김철수.txt", WINDOWS)
    source = find_source(get_task("chat"), DataArguments(train_file=path, assistant_name="홍길동"), ("train",))
    loaded = source.load("train")
    assert len(loaded.data) == 2 and loaded.counts["messages_left_out"] == 3
    line = command(["run_chat.py", "--train_file", path, "--assistant_name", "홍길동"], 1, source.private)
    assert "--train_file" in line
    told = json.dumps([source.describe(), source.choices, line, loaded.data["messages"][:]], ensure_ascii=False)
    assert not [name for name in ("김철수", "홍길동", "이영희") if name in told]


def test_a_name_without_a_chat_is_refused(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"question": "a", "answer": "b"}\n')
    with pytest.raises(UserError, match=r"^--assistant_name 홍길동: none of the files is a chat of KakaoTalk; "):
        find_source(get_task("chat"), DataArguments(train_file=path, assistant_name="홍길동"), ("train",))


def test_a_chat_is_no_table_to_other_tasks(tmp_path):
    path = written(tmp_path, "a.csv", MAC)
    assert next(read_files([path])).values["User"] == "김철수"


@EXAMPLES
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_in_any_order_and_with_any_text_is_read_or_refused_in_one_line(tmp_path, examples, name):
    lines = EXPORTS[name].splitlines()
    piece = st.sampled_from(lines) | st.tuples(st.sampled_from(lines), texts).map("".join) | texts

    @fuzz(examples, head=st.just(lines[:1]), body=st.lists(piece, max_size=8), assistant=st.sampled_from([None, "홍길동"]))
    def check(head, body, assistant):
        text = "\n".join([*head, *body])
        path = tmp_path / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            talks, *_ = read(str(path), assistant)
        except UserError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            return
        for talk in talks:
            assert [role for role, _ in talk] == ["user", "assistant"] * (len(talk) // 2)
            assert all(content.strip() for _, content in talk)
