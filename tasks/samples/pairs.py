"""Natural language inference: a premise tells some things about an outing, a hypothesis claims one thing.

Two kinds of hypotheses are mixed. Some repeat or deny a thing that the premise says, or add one that it does not say: the
same sentences stand with all three labels, and only the premise decides. The others are worded the way people word them when
asked for one of each label: denials for a contradiction, plans and likings for a neutral one. Real sets have such cues too
(Gururangan et al. 2018, https://aclanthology.org/N18-2017), and without them a model that begins with nothing learns
nothing from a thousand rows. The README of the sample says how far a guesser gets that never sees a premise.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from josa import fill
from slots import Slots

TASK = "nli"
COUNTS = (999, 102)  # rows in training, rows in validation

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Aspect:
    """One thing that can be told of an outing: two states that rule each other out, each said in several ways.

    ``said`` are sentences of a premise, ``claimed`` sentences of a hypothesis, the first tuple for the one state and the
    second for the other. Two states and not seven weekdays, so that a thousand rows show every pair of them often enough
    for a model that begins with nothing.
    """

    said: tuple[tuple[str, ...], tuple[str, ...]]
    claimed: tuple[tuple[str, ...], tuple[str, ...]]


PLACES = ("도서관", "시장", "공원", "박물관", "식당", "찻집", "문화센터", "꽃집")
ASPECTS = {
    "weather": Aspect(
        (("아침부터 비가 내렸다.", "온종일 비가 왔다."), ("아침부터 날씨가 맑았다.", "온종일 하늘이 맑았다.")),
        (("{p} 씨가 {place}에 간 날 비가 왔다.",), ("{p} 씨가 {place}에 간 날은 맑았다.",)),
    ),
    "season": Aspect(
        (("어느 여름날이었다.", "지난여름의 일이다."), ("어느 겨울날이었다.", "지난겨울의 일이다.")),
        (("{p} 씨는 여름에 {place}에 갔다.",), ("{p} 씨는 겨울에 {place}에 갔다.",)),
    ),
    "ride": Aspect(
        (("갈 때는 버스만 탔다.", "줄곧 버스를 타고 갔다."), ("갈 때는 자전거만 탔다.", "줄곧 자전거를 타고 갔다.")),
        (("{p} 씨는 버스를 타고 {place}에 갔다.",), ("{p} 씨는 자전거를 타고 {place}에 갔다.",)),
    ),
    "company": Aspect(
        (("곁에는 아무도 없었다.", "처음부터 끝까지 혼자였다."), ("친구와 함께였다.", "곁에는 오랜 친구가 있었다.")),
        (("{p} 씨는 혼자서 {place}에 갔다.",), ("{p} 씨는 친구와 {place}에 갔다.",)),
    ),
    "crowd": Aspect(
        (("안은 무척 붐볐다.", "사람이 많아 붐볐다."), ("안은 아주 한산했다.", "사람이 적어 한산했다.")),
        (("{p} 씨가 갔을 때 {place:은} 붐볐다.",), ("{p} 씨가 갔을 때 {place:은} 한산했다.",)),
    ),
    "hour": Aspect(
        (("아침 일찍 도착했다.", "도착하니 이른 아침이었다."), ("저녁 늦게 도착했다.", "도착하니 늦은 저녁이었다.")),
        (("{p} 씨는 아침에 {place}에 도착했다.",), ("{p} 씨는 저녁에 {place}에 도착했다.",)),
    ),
    "money": Aspect(
        (
            ("돈은 한 푼도 쓰지 않았다.", "모두 무료라 돈은 들지 않았다."),
            ("돈을 제법 많이 썼다.", "생각보다 돈이 많이 들었다."),
        ),
        (("{p} 씨는 {place}에서 돈을 쓰지 않았다.",), ("{p} 씨는 {place}에서 돈을 많이 썼다.",)),
    ),
    "feeling": Aspect(
        (
            ("{p} 씨는 아주 만족했다.", "{p} 씨는 만족하며 집에 왔다."),
            ("{p} 씨는 크게 실망했다.", "{p} 씨는 실망하며 집에 왔다."),
        ),
        (("{place}에 다녀온 {p} 씨는 만족했다.",), ("{place}에 다녀온 {p} 씨는 실망했다.",)),
    ),
}
#: Hypotheses whose wording is typical of their label; true, open or false whatever else the premise tells.
TYPICAL = {
    "entailment": (
        "{p} 씨는 {place}에 다녀온 사람이다.",
        "{p} 씨는 {place}에 들렀다.",
        "{p} 씨가 다녀온 곳 가운데 {place}도 있다.",
        "{p} 씨는 그날 밖에 나왔다.",
    ),
    "neutral": (
        "{p} 씨는 내일도 {place}에 갈 것이다.",
        "{p} 씨의 언니는 {place:을} 좋아한다.",
        "{p} 씨는 앞으로 {place}에서 일하고 싶어 한다.",
        "{p} 씨는 어릴 때부터 {place:을} 좋아했다.",
    ),
    "contradiction": (
        "{p} 씨는 {place}에 가지 않았다.",
        "{p} 씨는 {place}에 가 본 적이 없다.",
        "{p} 씨는 그날 집 밖에 나가지 않았다.",
        "{p} 씨는 끝내 {place}에 가지 못했다.",
    ),
}
#: The share of rows whose hypothesis is such a one.
TYPICAL_SHARE = 0.6

#: The order in which a premise tells what it tells; the sentence about going stands between the two groups.
BEFORE, AFTER = ("season", "weather"), ("ride", "company", "hour", "crowd", "money", "feeling")
OPENINGS = ("{p} 씨는 {a}{place}에 갔다.", "{p} 씨는 {a}{place}에 다녀왔다.", "{p} 씨가 {a}{place:을} 찾았다.")


def pair(rng: random.Random, split: str, label: str) -> dict[str, str]:
    """A premise with a hypothesis of that label."""
    slots = Slots(rng, split)
    words = {"p": slots.person(), "a": slots.place(), "place": rng.choice(PLACES)}
    said = rng.sample(sorted(ASPECTS), rng.choice((1, 2, 2)))
    state = {aspect: rng.randrange(2) for aspect in ASPECTS}

    def tell(aspect: str) -> str:
        return fill(rng, rng.choice(ASPECTS[aspect].said[state[aspect]]), **words)

    told = [tell(aspect) for aspect in BEFORE if aspect in said]
    told.append(fill(rng, rng.choice(OPENINGS), **words))
    told += [tell(aspect) for aspect in AFTER if aspect in said]
    if rng.random() < TYPICAL_SHARE:
        return {"premise": " ".join(told), "hypothesis": fill(rng, rng.choice(TYPICAL[label]), **words), "label": label}
    aspect = rng.choice(sorted(set(ASPECTS) - set(said)) if label == "neutral" else said)
    claimed = 1 - state[aspect] if label == "contradiction" else state[aspect]
    hypothesis = fill(rng, rng.choice(ASPECTS[aspect].claimed[claimed]), **words)
    return {"premise": " ".join(told), "hypothesis": hypothesis, "label": label}


def rows(rng: random.Random, split: str, count: int) -> list[dict[str, str]]:
    """``count`` rows in mixed order, every one with a premise of its own, the labels as equal in number as can be."""
    found: dict[str, dict[str, str]] = {}
    while len(found) < count:
        row = pair(rng, split, LABELS[len(found) % len(LABELS)])
        found.setdefault(row["premise"], row)
    mixed = list(found.values())
    rng.shuffle(mixed)
    return mixed
