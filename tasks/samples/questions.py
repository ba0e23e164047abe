"""Question answering: contexts that state several facts of one kind, and questions that ask for one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from josa import fill
from outings import context_with_question
from slots import Slots

TASK = "qa"
COUNTS = (1000, 100)  # rows in training, rows in validation


@dataclass(frozen=True)
class Family:
    """Contexts of one kind: ``keys`` get a value each, told by ``facts`` and asked for by ``questions``.

    ``value`` names the method of Slots that draws the values, ``unit`` follows the value and belongs to the answer.
    ``facts`` hold one key, ``pairs`` two. ``extra`` is one more sentence with its own question and answer template.
    """

    intros: tuple[str, ...]
    keys: tuple[str, ...]
    value: str
    unit: str
    facts: tuple[str, ...]
    pairs: tuple[str, ...]
    questions: tuple[str, ...]
    extra: tuple[tuple[str, str, str], ...]


FAMILIES = (
    Family(
        ("{a}마을은 축제 준비로 [바쁘다|분주하다].", "{a}동 주민들이 모여 축제 때 할 일을 나누었다."),
        ("무대", "음식", "안내", "사진", "청소", "홍보"),
        "person",
        "",
        ("{k:은} {v} 씨가 맡았다.", "{k:은} {v} 씨가 맡기로 했다."),
        ("{k:은} {v} 씨가 맡고 {l:은} {u} 씨가 맡았다.", "{k:은} {v} 씨가, {l:은} {u} 씨가 맡는다."),
        ("{k:은} 누가 맡았나요?", "{k:은} 누가 맡기로 했나요?", "{k:은} 누가 하나요?"),
        (
            ("축제는 {d}에 {b}공원에서 열린다.", "축제는 언제 열리나요?", "{d}"),
            ("축제는 {d}에 {b}공원에서 열린다.", "축제는 어디에서 열리나요?", "{b}공원"),
        ),
    ),
    Family(
        ("{a}중학교 체육 대회가 [끝났다|막을 내렸다].", "{a}체육관에서 열린 주민 체육 대회의 결과가 나왔다."),
        ("달리기", "수영", "배드민턴", "탁구", "씨름", "줄넘기"),
        "person",
        "",
        ("{k}에서는 {v} 씨가 우승했다.", "{k}에서는 {v} 씨가 가장 잘했다."),
        ("{k}에서는 {v} 씨가, {l}에서는 {u} 씨가 우승했다.", "{k}에서는 {v} 씨가 우승하고 {l}에서는 {u} 씨가 우승했다."),
        ("{k}에서는 누가 우승했나요?", "{k}에서는 누가 가장 잘했나요?"),
        (("대회에는 모두 {n}명이 참가했다.", "대회에는 모두 몇 명이 참가했나요?", "{n}명"),),
    ),
    Family(
        ("{a}문화센터가 새 강좌를 연다.", "{a}문화센터의 [봄|가을] 강좌 안내가 나왔다."),
        ("서예", "기타", "요가", "도예", "요리", "사진"),
        "person",
        "",
        ("{k:은} {v} 강사가 가르친다.", "{k:은} {v} 강사가 맡는다."),
        ("{k:은} {v} 강사가, {l:은} {u} 강사가 가르친다.", "{k:은} {v} 강사가 가르치고 {l:은} {u} 강사가 가르친다."),
        ("{k:은} 누가 가르치나요?", "{k:은} 어느 강사가 맡나요?"),
        (("수강료는 한 달에 {w}원이다.", "수강료는 한 달에 얼마인가요?", "{w}원"),),
    ),
    Family(
        ("{p} 씨는 동네 모임에 자주 나간다.", "{a}동에는 주민 모임이 많다."),
        ("독서회", "산악회", "합창단", "등산반", "바둑반", "봉사단"),
        "place",
        "회관",
        ("{k:은} {v}회관에서 모인다.", "{k:은} {v}회관에서 만난다."),
        ("{k:은} {v}회관에서, {l:은} {u}회관에서 모인다.", "{k:은} {v}회관에서 모이고 {l:은} {u}회관에서 모인다."),
        ("{k:은} 어디에서 모이나요?", "{k:은} 어디에서 만나나요?"),
        (("새 회원은 {q} 씨가 안내한다.", "새 회원은 누가 안내하나요?", "{q}"),),
    ),
    Family(
        ("{p} 씨 가족은 여행 계획을 세웠다.", "{p} 씨는 친구들과 함께 여행을 떠난다."),
        ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일"),
        "place",
        "마을",
        ("{k}에는 {v}마을에 간다.", "{k}에는 {v}마을에 들른다."),
        ("{k}에는 {v}마을에 가고 {l}에는 {u}마을에 간다.", "{k}에는 {v}마을에, {l}에는 {u}마을에 들른다."),
        ("{k}에는 어디에 가나요?", "{k}에는 어디에 들르나요?"),
        (("숙소는 {q} 씨가 예약했다.", "숙소는 누가 예약했나요?", "{q}"),),
    ),
    Family(
        ("{a}역에는 아침부터 사람이 많다.", "{p} 씨는 {a}역에서 표를 끊었다."),
        ("기차", "버스", "고속버스", "관광버스", "유람선", "셔틀버스"),
        "time",
        "",
        ("{k:은} {v}에 출발한다.", "{k:은} {v}에 떠난다."),
        ("{k:은} {v}에, {l:은} {u}에 출발한다.", "{k:은} {v}에 떠나고 {l:은} {u}에 떠난다."),
        ("{k:은} 몇 시에 출발하나요?", "{k:은} 언제 떠나나요?"),
        (("표는 한 장에 {w}원이다.", "표는 한 장에 얼마인가요?", "{w}원"),),
    ),
    Family(
        ("{a}시장은 주말마다 손님으로 붐빈다.", "{p} 씨는 {a}시장에서 과일 가게를 한다."),
        ("사과", "배", "감", "귤", "포도", "복숭아"),
        "price",
        "원",
        ("{k:은} {v}원이다.", "{k:은} {v}원에 판다."),
        ("{k:은} {v}원이고 {l:은} {u}원이다.", "{k:은} {v}원에, {l:은} {u}원에 판다."),
        ("{k:은} 얼마인가요?", "{k:은} 얼마에 파나요?"),
        (("가게 문은 {t}에 연다.", "가게 문은 언제 여나요?", "{t}"),),
    ),
    Family(
        ("{a}초등학교에는 방과 후 동아리가 [많다|여럿 있다].", "{a}초등학교가 동아리 신청을 마감했다."),
        ("합창반", "과학반", "축구반", "연극반", "미술반", "바둑반"),
        "count",
        "명",
        ("{k:은} {v}명이 신청했다.", "{k:은} {v}명이 골랐다."),
        ("{k:은} {v}명이 신청하고 {l:은} {u}명이 신청했다.", "{k:은} {v}명이, {l:은} {u}명이 신청했다."),
        ("{k:은} 몇 명이 신청했나요?", "{k:은} 몇 명이 골랐나요?"),
        (("신청서는 {p} 선생님이 받았다.", "신청서는 누가 받았나요?", "{p}"),),
    ),
    Family(
        ("{a}박물관이 옛 예술가들을 소개하는 전시를 연다.", "{a}고을은 예부터 이름난 사람이 많았다."),
        ("화가", "시인", "의사", "학자", "장군", "음악가"),
        "person",
        "",
        ("이름난 {k:은} {v:이다}.", "가장 이름난 {k:은} {v:이었다}."),
        ("이름난 {k:은} {v:이고} 이름난 {l:은} {u:이다}.", "이름난 {k:은} {v:이었고} 이름난 {l:은} {u:이었다}."),
        ("이름난 {k:은} 누구인가요?", "이곳의 이름난 {k:은} 누구였나요?"),
        (("이들의 이야기는 {y}년에 쓴 책에 나온다.", "이야기가 나오는 책은 언제 썼나요?", "{y}년"),),
    ),
    Family(
        ("{p} 팀장은 회의에서 일정을 정했다.", "{a}상사는 다음 달 일정을 알렸다."),
        ("설명회", "발표회", "시음회", "면접", "워크숍", "환영회"),
        "date",
        "",
        ("{k:은} {v}에 열린다.", "{k:은} {v}에 한다."),
        ("{k:은} {v}에, {l:은} {u}에 열린다.", "{k:은} {v}에 하고 {l:은} {u}에 한다."),
        ("{k:은} 언제 열리나요?", "{k:은} 언제 하나요?"),
        (("준비는 {q} 과장이 맡았다.", "준비는 누가 맡았나요?", "{q}"),),
    ),
)


def context_with_questions(rng: random.Random, split: str) -> tuple[str, list[tuple[str, str]]]:
    """A context and the (question, answer) pairs that can be asked about it."""
    slots = Slots(rng, split)
    family = rng.choice(FAMILIES)
    values = {
        **{key: slots.person() for key in "pq"},
        **{key: slots.place() for key in "ab"},
        "d": slots.date(),
        "t": slots.time(),
        "n": slots.count(),
        "w": slots.price(),
        "y": slots.years()[0],
    }
    keys = rng.sample(family.keys, rng.choice((2, 2, 3)))
    facts = [(key, getattr(slots, family.value)()) for key in keys]
    sentences = [fill(rng, rng.choice(family.intros), **values)]
    (first, value), (second, other), *rest = facts
    if rng.random() < 0.6:
        sentences.append(fill(rng, rng.choice(family.pairs), k=first, v=value, l=second, u=other))
    else:
        rest = facts
    sentences += [fill(rng, rng.choice(family.facts), k=key, v=value) for key, value in rest]
    pairs = [(fill(rng, rng.choice(family.questions), k=key), value + family.unit) for key, value in facts]
    if rng.random() < 0.5:
        sentence, question, answer = rng.choice(family.extra)
        sentences.insert(rng.choice((1, len(sentences))), fill(rng, sentence, **values))
        pairs.append((question, fill(rng, answer, **values)))
    return " ".join(sentences), pairs


#: The share of rows that ask for an everyday word (``outings``); the others ask for a name, a place or a number.
EVERYDAY_SHARE = 0.8


def rows(rng: random.Random, split: str, count: int) -> list[dict]:
    """``count`` rows in the form of SQuAD, every one with a context of its own."""
    found: dict[str, dict] = {}
    while len(found) < count:
        if rng.random() < EVERYDAY_SHARE:
            context, question, answer = context_with_question(rng, split)
        else:
            context, pairs = context_with_questions(rng, split)
            question, answer = rng.choice(pairs)
        if context in found or context.count(answer) != 1:
            continue  # an answer that stands twice has no single offset
        found[context] = {
            "id": f"sample-qa-{split}-{len(found) + 1:04d}",
            "context": context,
            "question": question,
            "answers": {"text": [answer], "answer_start": [context.index(answer)]},
        }
    return list(found.values())
