"""Exports of KakaoTalk (Windows, Mac, Android, iOS) -> conversations, without the names of the speakers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby, islice, pairwise
from typing import NamedTuple

from tasks.errors import UserError
from tasks.reading.charset import open_text
from tasks.reading.rows import Row, listed
from tasks.reading.values import LEFT_OUT, UNANSWERED

_CLOCK = r"(?:(?P<half>오전|오후) )?(?P<hour>\d{1,2}):(?P<minute>\d\d)"
_DATE = r"(?P<year>\d{4})(?:년 |\. )(?P<month>\d{1,2})(?:월 |\. )(?P<day>\d{1,2})(?:일|\.)"
#: Android "2025년 10월 10일 오전 10:09, 이름 : 글" and iOS "2025. 10. 23. 오전 11:44, 이름 : 글".
_PHONE = re.compile(rf"{_DATE} {_CLOCK}, (?P<rest>.*)")
#: Windows: "--------------- 2024년 12월 9일 월요일 ---------------", then "[이름] [오후 2:30] 글".
_WINDOWS = re.compile(rf"\[(?P<name>[^\]]+)\] \[{_CLOCK}\] (?P<text>.*)")
#: A line that stands for a new day, in all of them.
_DAY = re.compile(rf"(?:-+ )?{_DATE}(?: .요일)?(?: -+|(?: {_CLOCK}))?\s*")
_HEADER = re.compile(r".* 님과 카카오톡 대화|저장한 날짜 ?:")
_FOREIGN = re.compile(r"KakaoTalk Chats? with |Date Saved ?:|\[[^\]]+\] \[\d{1,2}:\d\d [AP]M\] |カカオトーク|.*とのトーク")
_MAC = ["Date", "User", "Message"]

_SYSTEM = re.compile(
    r".*(?:님이 들어왔습니다\.|님이 나갔습니다\.|님을 (?:초대했습니다|내보냈습니다)\.|님을 초대하였습니다\.)\s*"
    r"|채팅방 관리자가 메시지를 가렸습니다\.\s*|.*방장이 되었습니다\.\s*"
)
_NO_TEXT = re.compile(
    r"(?:사진(?: \d+장)?|동영상|이모티콘|음성메시지|삭제된 메시지입니다\.|(?:파일|지도|연락처|샵검색|투표|공지) ?: .*"
    r"|(?:보이스톡|페이스톡|그룹콜)(?: .*)?)\s*"
)


class Message(NamedTuple):
    """What one person wrote at one time; ``line`` is where it begins in the file."""

    when: datetime
    name: str
    text: str
    line: int


def is_export(path: str) -> bool:
    """Whether a .txt or .csv is a chat that KakaoTalk wrote. Raises UserError for one in another language than Korean."""
    if not path.lower().endswith((".txt", ".csv")):
        return False
    with open_text(path) as file:
        head = [line.rstrip("\r\n") for line in islice(file, 10)]
    if any(map(_FOREIGN.match, head)):
        raise UserError(f"{path}: a KakaoTalk export in another language; set the app to Korean and export the chat again")
    if path.lower().endswith(".csv"):
        return head[:1] == [",".join(_MAC)]
    return any(pattern.match(line) for line in head for pattern in (_HEADER, _PHONE, _WINDOWS))


def read_kakaotalk(path: str, counts: Counter[str], assistant: str | None, hours: float) -> Iterator[Row]:
    """One row of ``messages`` a conversation, which a pause of more than ``hours`` ends.

    ``assistant`` is who answers, against all others. Messages in a row of one side are one. ``counts`` says how many were
    left out: system lines, photos and other messages without text, and conversations without an answer.

    Raises:
        UserError: nothing was read, the room has no two speakers, or who answers is not said or not there.
    """
    messages = list(_of_mac(path, counts) if path.lower().endswith(".csv") else _of_txt(path, counts))
    names = list(dict.fromkeys(message.name for message in messages))
    if not messages:
        raise UserError(f"{path}: no message could be read; export the chat again as text, with the app set to Korean")
    if len(names) < 2:
        raise UserError(f"{path}: only {names[0]} writes there, and a conversation needs two; give another chat")
    if assistant not in names:
        who = f"{listed(names)} write there"
        others = "" if len(names) == 2 else ", all others are read as one"
        given = f"nobody is called {assistant}: " if assistant else ""
        raise UserError(f"{path}: {given}{who}; say who answers with --assistant_name NAME{others}")
    pauses = [after.when - before.when > timedelta(hours=hours) for before, after in pairwise(messages)]
    begins = [0, *(place for place, pause in enumerate(pauses, 1) if pause), len(messages)]
    for start, end in pairwise(begins):
        sides = groupby(messages[start:end], lambda message: message.name == assistant)
        turns = [("assistant" if answers else "user", "\n".join(each.text for each in said)) for answers, said in sides]
        first = int(turns[0][0] == "assistant")  # an answer before any question
        last = len(turns) - int(turns[-1][0] == "user")  # and a question that nobody answered
        counts[LEFT_OUT] += first + len(turns) - last
        turns = turns[first:last]
        if turns:
            said = [{"role": role, "content": text} for role, text in turns]
            yield Row({"messages": said}, f"{path} line {messages[start].line}")
        else:
            counts[UNANSWERED] += 1


def _of_txt(path: str, counts: Counter[str]) -> Iterator[Message]:
    """The messages of a .txt; a line that fits nothing goes on with the message before."""
    day: tuple[int, int, int] | None = None
    found: Message | None = None
    with open_text(path) as file:
        for number, whole in enumerate(file, 1):
            line = whole.rstrip("\r\n")
            begun: Message | None = None
            if phone := _PHONE.fullmatch(line):
                name, colon, text = phone["rest"].partition(" : ")
                if colon and not _SYSTEM.fullmatch(phone["rest"]):
                    begun = Message(_moment(path, number, phone, _day(phone)), name, text, number)
                else:
                    counts[LEFT_OUT] += 1
            elif windows := _WINDOWS.fullmatch(line):
                if day is None:
                    raise UserError(f"{path} line {number}: no line with a date stands before it; export it again")
                begun = Message(_moment(path, number, windows, day), windows["name"], windows["text"], number)
            elif new := _DAY.fullmatch(line):
                day = _day(new)
            elif _SYSTEM.fullmatch(line):
                counts[LEFT_OUT] += 1
            else:
                found = found and found._replace(text=f"{found.text}\n{line}")
                continue
            yield from _kept(found, counts)
            found = begun
    yield from _kept(found, counts)


def _of_mac(path: str, counts: Counter[str]) -> Iterator[Message]:
    with open_text(path, newline="") as file:
        cells = csv.reader(file)
        next(cells)
        line = cells.line_num + 1
        for row in cells:
            try:
                when, name, text = datetime.fromisoformat(row[0]), row[1], row[2]
            except (ValueError, IndexError):
                raise UserError(f"{path} line {line}: not a date, a user and a message; export the chat again") from None
            yield from _kept(Message(when, name, text, line), counts)
            line = cells.line_num + 1


def _kept(message: Message | None, counts: Counter[str]) -> Iterator[Message]:
    """``message`` if it is text that somebody wrote; counted where it is not."""
    if message is None:
        return
    text = message.text.strip()
    if not text or _NO_TEXT.fullmatch(text) or _SYSTEM.fullmatch(text):
        counts[LEFT_OUT] += 1
    else:
        yield message._replace(text=text)


def _day(found: re.Match[str]) -> tuple[int, int, int]:
    return int(found["year"]), int(found["month"]), int(found["day"])


def _moment(path: str, number: int, found: re.Match[str], day: tuple[int, int, int]) -> datetime:
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + 12 * (found["half"] == "오후")
    try:
        return datetime(*day, hour, int(found["minute"]))
    except ValueError:
        raise UserError(f"{path} line {number}: there is no such date or time; correct it") from None
