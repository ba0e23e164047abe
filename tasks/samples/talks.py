"""Conversations: an order, a plan, a comparison. An answer needs the order of words, or what an earlier turn said."""

from __future__ import annotations

import json
import random

from josa import fill

TASK = "chat"
COUNTS = (800, 100)  # conversations in training, conversations in validation

#: The way to talk that a system text may ask for; the others are answered politely.
PLAIN = "반말로 대답한다."

FOODS = ("김밥", "떡국", "국수", "만두", "잡채", "순대", "파전", "사과", "배", "빵", "귤", "호떡")
PLACES = ("공원", "도서관", "시장", "바다", "박물관", "학교", "극장", "산")
DAYS = ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일")
PEOPLE = ("동생", "언니", "친구", "할머니", "이모", "삼촌", "아버지", "어머니")
ANIMALS = ("말", "소", "개", "고양이", "토끼", "닭", "오리", "쥐")
SIZES = (("커", "작아"), ("빨라", "느려"), ("무거워", "가벼워"))

#: (question, polite answer, plain answer) of a first turn, and of those that follow it in this order.
Turns = list[tuple[str, str, str]]


def order(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """Something to eat instead of something else, and how many."""
    a, b = rng.sample(FOODS, 2)
    first = rng.choice(("{a} 말고 {b} 주세요.", "{a} 대신 {b:을} 먹을래요.", "{b} 주세요. {a:은} 싫어요."))
    turns = [
        ("{n}개 주세요.", "{b} {n}개요.", "{b} {n}개."),
        ("뭘 싫다고 했죠?", "{a}요.", "{a}."),
        ("뭘 달라고 했죠?", "{b}요.", "{b}."),
    ]
    return [(first, "{b:을} 드릴게요.", "{b:을} 줄게."), *_some(rng, turns)], {"a": a, "b": b, "n": str(rng.randint(2, 9))}


def plan(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """A trip, which may be put off."""
    day, other = rng.sample(DAYS, 2)
    values = {"day": day, "other": other, "who": rng.choice(PEOPLE), "place": rng.choice(PLACES)}
    first = rng.choice(("{day}에 {who:과} {place}에 가요.", "{who:과} {day}에 {place}에 가기로 했어요."))
    turns = [
        ("언제 간다고 했죠?", "{day}요.", "{day}."),
        ("누구와 간다고 했죠?", "{who:과} 가요.", "{who:과} 가."),
        ("어디에 간다고 했죠?", "{place}에요.", "{place}에."),
    ]
    later = [("아니, {other}에 가요.", "{other}로 고쳤어요.", "{other}로 고쳤어."), ("언제 가죠?", "{other}요.", "{other}.")]
    turns = later if rng.random() < 0.3 else _some(rng, turns)
    return [(first, "{place}에 {who:과} 가는군요.", "{place}에 {who:과} 가는구나."), *turns], values


def comparison(rng: random.Random) -> tuple[Turns, dict[str, str]]:
    """Which of two is more so, and which is less: their order alone tells."""
    a, b = rng.sample(ANIMALS, 2)
    more, less = rng.choice(SIZES)
    first = rng.choice(("{a:이} {b}보다 {more}요. 뭐가 더 {more}요?", "{b}보다 {a:이} {more}요. 뭐가 더 {more}요?"))
    turns = [("뭐가 더 {less}요?", "{b}요.", "{b}.")]
    return [(first, "{a}요.", "{a}."), *_some(rng, turns)], {"a": a, "b": b, "more": more, "less": less}


def _some(rng: random.Random, turns: Turns) -> Turns:
    """None, one or two of ``turns``, in any order."""
    return rng.sample(turns, rng.randint(0, min(2, len(turns))))


def conversation(rng: random.Random) -> list[dict[str, str]]:
    """The messages of one conversation; one of five is to be answered in plain speech."""
    turns, values = rng.choice((order, plan, comparison))(rng)
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
