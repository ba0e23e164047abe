"""Natural language inference: a premise tells some things about an outing, a hypothesis claims one thing.

Every kind of claim is made against premises that say the same, something else, or nothing about it. The three labels
therefore share their hypotheses, and neither the premise nor the hypothesis alone gives the label away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from josa import fill
from slots import Slots

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Outing:
    """Where people go, what they do there, and with one of which ``objects``."""

    place: str
    act: str
    objects: tuple[str, ...]


OUTINGS = (
    Outing("도서관", "빌렸다", ("소설책", "만화책", "요리책", "역사책", "동화책", "그림책")),
    Outing("시장", "샀다", ("사과", "배추", "생선", "두부", "고구마", "참기름")),
    Outing("공원", "즐겼다", ("산책", "달리기", "배드민턴", "농구", "줄넘기", "사진 찍기")),
    Outing("박물관", "보았다", ("도자기", "옛 지도", "불상", "민화", "옛날 옷", "금관")),
    Outing("식당", "먹었다", ("비빔밥", "냉면", "칼국수", "만두", "김치찌개", "불고기")),
    Outing("찻집", "마셨다", ("커피", "녹차", "유자차", "생강차", "수정과", "식혜")),
    Outing("문화센터", "배웠다", ("기타", "서예", "요가", "도예", "뜨개질", "노래")),
    Outing("꽃집", "골랐다", ("장미", "국화", "튤립", "백합", "수국", "해바라기")),
)

DAYS = ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일")
RIDES = ("버스", "지하철", "자전거", "택시", "기차")
COMPANIONS = ("동생", "친구", "어머니", "할머니", "삼촌", "아들", "조카")
SEASONS = ("봄", "여름", "가을", "겨울")
#: Values that are said in two ways, so that a true claim need not repeat the words of the premise.
WEATHERS = {
    "비": ("비가 내렸다", "비가 왔다"),
    "눈": ("눈이 내렸다", "눈이 왔다"),
    "맑음": ("하늘이 맑았다", "날씨가 맑았다"),
}
FEELINGS = {
    "만족": ("아주 만족했다", "만족하며 집에 왔다"),
    "실망": ("크게 실망했다", "실망하며 집에 왔다"),
}

#: What a premise says about each aspect; it must rule out every other value. ``{v}`` is the value.
SAID = {
    "day": ("{v}의 일이다.", "그날은 {v:이었다}."),
    "season": ("어느 {v}날이었다.", "지난{v}의 일이다."),
    "weather": ("온종일 {v}.", "아침부터 밤까지 {v}."),
    "ride": ("[갈 때는|집에서 갈 때는] {v}만 탔다.", "줄곧 {v:을} 타고 갔다."),
    "companion": ("{v:과} 둘이서 갔다.", "{v:과} 단둘이 다녀왔다."),
    "time": ("{v}에 도착했다.", "도착한 시각은 {v:이었다}."),
    "object": ("그곳에서 {v}만 {act}.", "거기서는 {v}만 {act}."),
    "price": ("돈은 모두 {v}원을 썼다.", "모두 {v}원이 들었다."),
    "feeling": ("{p} 씨는 {v}.", "그날 {p} 씨는 {v}."),
}
#: What a hypothesis claims about it.
CLAIMED = {
    "day": ("{p} 씨가 {place}에 간 날은 {v:이었다}.", "{p} 씨는 {v}에 {place}에 갔다."),
    "season": ("{p} 씨가 {place}에 간 때는 {v:이었다}.", "{p} 씨는 {v}에 {place}에 갔다."),
    "weather": ("{p} 씨가 {place}에 간 날 {v}.", "{p} 씨가 {place}에 다녀온 날에는 {v}."),
    "ride": ("{p} 씨는 {v:을} 타고 {place}에 갔다.", "{p} 씨는 {place}에 갈 때 {v:을} 탔다."),
    "companion": ("{p} 씨는 {v:과} 둘이서 {place}에 갔다.", "{p} 씨와 {place}에 간 사람은 {v:이었다}."),
    "time": ("{p} 씨는 {v}에 {place}에 도착했다.", "{p} 씨가 {place}에 도착한 시각은 {v:이었다}."),
    "object": ("{p} 씨는 {place}에서 {v:을} {act}.", "{place}에 간 {p} 씨는 {v:을} {act}."),
    "price": ("{p} 씨는 {place}에서 {v}원을 썼다.", "{p} 씨가 {place}에서 쓴 돈은 {v}원이다."),
    "feeling": ("{place}에 다녀온 {p} 씨는 {v}.", "{p} 씨는 {place}에 갔다가 {v}."),
}
#: The order in which a premise tells what it tells; the sentence about going stands between the two groups.
BEFORE, AFTER = ("season", "day", "weather"), ("ride", "companion", "time", "object", "price", "feeling")
OPENINGS = ("{p} 씨는 {a}{place}에 갔다.", "{p} 씨는 {a}{place}에 다녀왔다.", "{p} 씨가 {a}{place:을} 찾았다.")


def _options(aspect: str, outing: Outing, slots: Slots) -> list[str]:
    """Two or more values of an aspect that exclude each other."""
    closed = {"day": DAYS, "ride": RIDES, "companion": COMPANIONS, "object": outing.objects, "season": SEASONS}
    if aspect in closed:
        return list(closed[aspect])
    if aspect in ("weather", "feeling"):
        return list(WEATHERS if aspect == "weather" else FEELINGS)
    return [getattr(slots, aspect)() for _ in range(2)]


def pair(rng: random.Random, split: str, label: str) -> dict[str, str]:
    """A premise with a hypothesis of that label."""
    slots = Slots(rng, split)
    outing = rng.choice(OUTINGS)
    person, place = slots.person(), slots.place()
    said = set(rng.sample(BEFORE, rng.choice((1, 1, 2)))) | set(rng.sample(AFTER, rng.choice((1, 2, 2))))
    if {"season", "day"} <= said:
        said.discard("season")  # one of them is enough to say when
    options = {aspect: _options(aspect, outing, slots) for aspect in BEFORE + AFTER}
    true = {aspect: rng.choice(options[aspect]) for aspect in options}

    def sentence(template: str, aspect: str, value: str) -> str:
        spoken = {"weather": WEATHERS, "feeling": FEELINGS}.get(aspect, {})
        value = rng.choice(spoken[value]) if spoken else value
        return fill(rng, template, p=person, a=place, place=outing.place, v=value, act=outing.act)

    told = [sentence(rng.choice(SAID[aspect]), aspect, true[aspect]) for aspect in BEFORE if aspect in said]
    told.append(fill(rng, rng.choice(OPENINGS), p=person, a=place, place=outing.place))
    told += [sentence(rng.choice(SAID[aspect]), aspect, true[aspect]) for aspect in AFTER if aspect in said]
    if label == "neutral":
        aspect = rng.choice([a for a in options if a not in said and not {a, *said} >= {"season", "day"}])
    else:
        aspect = rng.choice(sorted(said))
    value = true[aspect]
    if label == "contradiction":
        value = rng.choice([option for option in options[aspect] if option != value])
    hypothesis = sentence(rng.choice(CLAIMED[aspect]), aspect, value)
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
