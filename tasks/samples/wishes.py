"""Classification: what a customer wants in the end, when two wishes are told one after the other.

Every text tells two of four wishes, and the label is the later one. The same sentences stand in either order, with sentences
that say nothing of it before, between and after them: whoever counts words, or short runs of characters, can tell which two
wishes they are, and has to guess which came last.
"""

from __future__ import annotations

import random

from josa import fill
from slots import Slots

TASK = "classify"
COUNTS = (1000, 100)  # rows in training, rows in validation

OPENINGS = ("{p} 씨가 {a}{shop}에 전화했다.", "{p} 씨는 {a}{shop}에 전화를 걸었다.", "{a}{shop}에 {p} 씨의 전화가 왔다.")
SHOPS = ("가게", "시장", "꽃집", "서점")
ITEMS = ("의자", "책상", "우산", "시계", "가방", "화분")

#: Label -> ways to say the wish.
WISHES = {
    "주문": ("{item} 하나를 주문했다.", "{item} 하나를 사기로 했다.", "{item} 하나를 보내 달라고 했다."),
    "취소": ("주문을 취소해 달라고 했다.", "{item:은} 사지 않겠다고 했다.", "주문을 없던 일로 하자고 했다."),
    "교환": (
        "{item:을} 새것으로 바꾸기로 했다.",
        "다른 색 {item:으로} 바꿔 달라고 했다.",
        "더 큰 것으로 교환해 달라고 했다.",
    ),
    "환불": ("낸 돈을 돌려 달라고 했다.", "환불을 받겠다고 했다.", "{item:을} 돌려주고 돈을 받기로 했다."),
}

#: Sentences that say nothing of a wish.
ASIDES = (
    "창밖에는 비가 내렸다.", "어디선가 음악이 들렸다.", "한동안 말이 없었다.", "직원은 공책에 받아 적었다.",
    "옆에서 아이가 웃었다.", "목소리는 차분했다.", "물을 한 모금 마셨다.", "손님 몇이 더 들어왔다.",
)  # fmt: skip


def told(rng: random.Random, split: str, label: str) -> dict[str, str]:
    """A text whose later wish is ``label``."""
    slots = Slots(rng, split)
    words = {"p": slots.person(), "a": slots.place(), "shop": rng.choice(SHOPS), "item": rng.choice(ITEMS)}
    earlier = rng.choice([wish for wish in WISHES if wish != label])
    first, second, third = rng.sample(ASIDES, 3)
    templates = (rng.choice(OPENINGS), first, rng.choice(WISHES[earlier]), second, rng.choice(WISHES[label]), third)
    return {"text": " ".join(fill(rng, template, **words) for template in templates), "label": label}


def rows(rng: random.Random, split: str, count: int) -> list[dict[str, str]]:
    """``count`` different rows in mixed order, as many of each label."""
    found: dict[str, dict[str, str]] = {}
    while len(found) < count:
        row = told(rng, split, list(WISHES)[len(found) % len(WISHES)])
        found.setdefault(row["text"], row)
    mixed = list(found.values())
    rng.shuffle(mixed)
    return mixed
