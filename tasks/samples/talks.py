"""Conversations: one to four turns about a plan, a meal, an ache or a hobby; later answers need what was said before."""

from __future__ import annotations

import json
import random

from josa import fill

TASK = "chat"
COUNTS = (1000, 100)  # conversations in training, conversations in validation

#: The way to talk that a system text may ask for; the others are answered politely.
PLAIN = "반말로 대답한다."

PLANS = {
    "place": {
        "공원": "돗자리", "도서관": "안경", "시장": "장바구니", "바닷가": "수건", "박물관": "사진기", "체육관": "운동화",
        "수영장": "물안경", "산": "물통", "극장": "표", "온천": "갈아입을 옷",
    },
    "day": ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
    "who": ("동생", "언니", "친구", "할머니", "이모", "삼촌", "아버지", "어머니"),
}  # fmt: skip
FOODS = ("김밥", "떡국", "비빔밥", "국수", "만두", "잡채", "호박죽", "김치찌개", "된장국", "파전")
TASTES = (("짰어", "짰"), ("매웠어", "매웠"), ("싱거웠어", "싱거웠"), ("달았어", "달았"))
ACHES = {  # what to do, politely and plainly, and the doctor
    "머리": ("따뜻한 물을 마시고 쉬세요", "따뜻한 물을 마시고 쉬어", "내과"),
    "배": ("죽을 먹고 쉬세요", "죽을 먹고 쉬어", "내과"),
    "이": ("단것을 먹지 마세요", "단것을 먹지 마", "치과"),
    "눈": ("화면을 보지 마세요", "화면을 보지 마", "안과"),
    "무릎": ("계단을 오르지 마세요", "계단을 오르지 마", "정형외과"),
    "허리": ("무거운 것을 들지 마세요", "무거운 것을 들지 마", "정형외과"),
}
SINCE = ("어제", "그저께", "지난주", "월요일", "아침", "점심때")
HOBBIES = ("서예", "기타", "요가", "수영", "도예", "바둑", "사진", "요리", "탁구", "합창")
OFTEN = ("날마다 해", "일주일에 한 번 해", "일주일에 두 번 해", "주말마다 해", "한 달에 한 번 해")

#: (question, polite answer, plain answer) of a first turn, and of those that may follow it in this order.
Turns = list[tuple[str, str, str]]


def plan(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """A trip: what to take follows from where it goes."""
    place = rng.choice(list(PLANS["place"]))
    values = {
        "place": place,
        "thing": PLANS["place"][place],
        "day": rng.choice(PLANS["day"]),
        "who": rng.choice(PLANS["who"]),
    }
    first = rng.choice(("{day}에 {who:과} {place}에 [갈 거야|가려고 해].", "{who:과} {day}에 {place}에 가기로 했어."))
    later: Turns = [
        ("[뭘|무엇을] 가져갈까?", "{place}에 가니까 {thing:을} 가져가세요.", "{place}에 가니까 {thing:을} 가져가."),
        ("[언제 간다고 했지?|내가 언제 간다고 했더라?]", "{day}에 간다고 했어요.", "{day}에 간다고 했어."),
        ("누구와 간다고 했지?", "{who:과} 간다고 했어요.", "{who:과} 간다고 했어."),
        ("어디에 간다고 했지?", "{place}에 간다고 했어요.", "{place}에 간다고 했어."),
    ]
    answers = (
        "{who:과} {place}에 가는군요. {day:이} 기다려지겠어요.",
        "{who:과} {place}에 가는구나. {day:이} 기다려지겠다.",
    )
    return [(first, *answers), *_some(rng, later)], values


def meal(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """A meal that somebody cooked, and how it was."""
    taste, stem = rng.choice(TASTES)
    values = {"food": rng.choice(FOODS), "who": rng.choice(PLANS["who"]), "taste": taste, "stem": stem}
    first = rng.choice(("{who:이} {food:을} 만들어 줬어.", "[오늘|아까] {who:이} 만든 {food:을} 먹었어."))
    answers = ("{who:이} 만든 {food:은} 맛이 어땠어요?", "{who:이} 만든 {food:은} 맛이 어땠어?")
    good = (
        "[응, 정말 맛있었어.|아주 맛있었어.]",
        "다행이에요. {who}에게 고맙다고 하세요.",
        "다행이다. {who}에게 고맙다고 해.",
    )
    bad = ("[너무|조금] {taste}.", "{food:이} {stem}다니 아쉽네요.", "{food:이} {stem}다니 아쉽네.")
    later: Turns = [
        ("내가 뭘 먹었다고 했지?", "{food:을} 먹었다고 했어요.", "{food:을} 먹었다고 했어."),
        ("누가 만들었다고 했지?", "{who:이} 만들었다고 했어요.", "{who:이} 만들었다고 했어."),
    ]
    return [(first, *answers), rng.choice((good, bad)), *_some(rng, later)], values


def ache(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """Something aches: what to do, and which doctor to see."""
    part = rng.choice(list(ACHES))
    polite, plain, doctor = ACHES[part]
    values = {"part": part, "polite": polite, "plain": plain, "doctor": doctor, "since": rng.choice(SINCE)}
    first = rng.choice(("{part:이} [너무|조금] 아파.", "{since}부터 {part:이} 아파."))
    later: Turns = [
        ("어느 병원에 갈까?", "{part:이} 아프니까 {doctor}에 가 보세요.", "{part:이} 아프니까 {doctor}에 가 봐."),
        ("{since}부터 아팠어.", "{since}부터라면 {doctor}에 가 보세요.", "{since}부터라면 {doctor}에 가 봐."),
    ]
    answers = ("{part:이} 아프군요. {polite}.", "{part:이} 아프구나. {plain}.")
    return [(first, *answers), *_some(rng, later)], values


def hobby(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """A hobby, how often, and what it was."""
    values = {"hobby": rng.choice(HOBBIES), "often": rng.choice(OFTEN), "who": rng.choice(PLANS["who"])}
    first = rng.choice(("[요즘|지난달부터] {hobby:을} 배워.", "{who:과} 같이 {hobby:을} 배우고 있어."))
    answers = ("{hobby:을} 배우는군요. 얼마나 자주 해요?", "{hobby:을} 배우는구나. 얼마나 자주 해?")
    told = ("{often}.", "{often}요? 꾸준히 하면 {hobby:이} 늘 거예요.", "{often}? 꾸준히 하면 {hobby:이} 늘 거야.")
    recall = ("내가 뭘 배운다고 했지?", "{hobby:을} 배운다고 했어요.", "{hobby:을} 배운다고 했어.")
    return [(first, *answers), told, *_some(rng, [recall])], values


def _some(rng: random.Random, turns: Turns) -> Turns:
    """None, one or two of ``turns``, in any order."""
    return rng.sample(turns, rng.randint(0, min(2, len(turns))))


def conversation(rng: random.Random) -> list[dict[str, str]]:
    """The messages of one conversation; one of five is to be answered in plain speech."""
    turns, values = rng.choice((plan, meal, ache, hobby))(rng)
    plain = rng.random() < 0.2
    messages = [{"role": "system", "content": PLAIN}] if plain else []
    for question, *answers in turns:
        messages.append({"role": "user", "content": fill(rng, question, **values)})
        messages.append({"role": "assistant", "content": fill(rng, answers[plain], **values)})
    return messages


def rows(rng: random.Random, split: str, count: int) -> list[dict]:
    """``count`` different conversations; those of a split have first questions that the other one never has."""
    found: dict[str, dict] = {}
    while len(found) < count:
        messages = conversation(rng)
        said = [message["content"] for message in messages if message["role"] == "user"]
        kept = random.Random(said[0]).random() < 0.15  # by the text alone: validation asks what training never asked
        if kept == (split == "validation"):
            found.setdefault(json.dumps(messages, ensure_ascii=False), {"messages": messages})
    return [{"id": f"sample-chat-{split}-{n:04d}", **row} for n, row in enumerate(found.values(), 1)]
