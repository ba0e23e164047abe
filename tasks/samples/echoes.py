"""Running text that says things twice: announcements, roll calls, orders, dictations, lists that are ticked off.

Such texts are common, and they are what a small model learns copying from: a name that it has never seen comes again,
and the only way to foresee it is to look back.
"""

from __future__ import annotations

import random

from josa import fill
from slots import Slots
from stories import SCENES

#: What may be listed: the method of Slots that draws an item, and what follows the item.
LISTS = {
    "persons": ("person", ""),
    "stations": ("place", "역"),
    "villages": ("place", "마을"),
    "numbers": ("count", ""),
    "dates": ("date", ""),
    "prices": ("price", "원"),
}

#: Texts that give a list and come back to it; ``{L}`` is the whole list.
LISTED = {
    "persons": (
        "오늘 온 사람은 {L:이다}. [혹시 몰라|빠진 사람이 있나 해서] 이름을 다시 불렀다. {L}. [모두 와 있었다|다 왔다].",
        "{p} 선생님이 이름을 불렀다. {L}. 출석부에는 {L:이} 나란히 적혀 있다. 이튿날도 {p} 선생님은 {L:을} 불렀다.",
        "상을 받은 사람은 {L:이다}. 사회자가 {L:을} 무대로 불렀다. [손님들은|관객들은] {L}에게 손뼉을 쳤다.",
        "이어달리기는 {L} 순서로 뛴다. {p} 감독은 {L}, 이 순서를 잊지 말라고 했다.",
        "새 회원은 {L:이다}. 모임에서는 {L:을} 반갑게 맞았다. 이제 {L:은} 주말마다 함께 산에 오른다.",
    ),
    "stations": (
        "이 열차는 {L}에 섭니다. 다시 알려 드립니다. 이 열차는 {L}에 섭니다.",
        "{p} 씨는 {L:을} 차례로 지났다. 돌아와서는 {L}, 모두 아름다웠다고 말했다.",
        "새 철길에는 {L:이} 생긴다. 주민들은 {L:이} 생긴다는 소식에 기뻐했다.",
    ),
    "villages": (
        "{L}에 큰비가 내렸다. [군수는|소방관들은] {L:을} 차례로 찾았다. {L} 주민들은 서로 도왔다.",
        "이번 잔치에는 {L:이} 함께한다. 깃발에는 {L}, 이렇게 마을 이름을 썼다.",
    ),
    "numbers": (
        "당첨 번호는 {L:이다}. 못 들은 사람을 위해 다시 불렀다. {L}. 게시판에도 {L}, 이렇게 적었다.",
        "{p} 씨의 번호는 {L:이다}. {q} 씨는 {L:을} 수첩에 적었다. 집에 와서도 {L:을} 외웠다.",
    ),
    "dates": (
        "도서관이 쉬는 날은 {L:이다}. {p} 씨는 달력에서 {L:을} 찾아 동그라미를 쳤다.",
        "모임은 {L}에 있다. 잊지 않도록 다시 적는다. {L}, 모두 세 번이다.",
    ),
    "prices": (
        "값은 차례로 {L:이다}. 손님이 다시 묻자 {p} 씨는 {L:이라고} 말했다.",
        "{p} 씨가 낸 돈은 {L:이다}. 영수증에도 {L:이} 적혀 있다. {q} 씨는 {L:을} 더해 보았다.",
    ),
}

#: Texts that say a sentence twice; ``{S}`` is the sentence.
SAID_TWICE = (
    "[안내 말씀 드립니다.|알려 드립니다.] {S} 다시 한번 [말씀드립니다.|알려 드립니다.] {S}",
    "{r} 선생님이 책을 읽었다. “{S}” 아이들이 따라 읽었다. “{S}”",
    "받아쓰기 시간이다. {r} 선생님이 “{S}” 하고 읽자 아이들은 “{S}” 하고 적었다.",
    "{r} 기자는 첫 줄을 이렇게 썼다. “{S}” 다음 날 신문에는 “{S}”라는 글이 실렸다.",
)


def _list_text(rng: random.Random, slots: Slots) -> str:
    kind = rng.choice(("persons", "persons", "persons", *LISTS))
    method, ending = LISTS[kind]
    items = [getattr(slots, method)() + ending for _ in range(3)]
    return fill(rng, rng.choice(LISTED[kind]), p=slots.person(), q=slots.person(), L=", ".join(items))


def _sentence_text(rng: random.Random, slots: Slots) -> str:
    values = slots.all()
    sentence = fill(rng, rng.choice(rng.choice(rng.choice(SCENES))), **values)
    return fill(rng, rng.choice(SAID_TWICE), r=values["r"], S=sentence)


def _table_text(rng: random.Random, slots: Slots) -> str:
    """Who lives or works where, told in one order and looked up in another."""
    ending, said, again = rng.choice(
        (
            ("마을", "{p} 씨는 {v}에 산다.", "{p} 씨는 {v:으로} 돌아갔다."),
            ("역", "{p} 씨는 {v}에서 내린다.", "{p} 씨는 {v}에서 손을 흔들며 내렸다."),
            ("시장", "{p} 씨는 {v}에서 일한다.", "{p} 씨는 {v}에서 늦게까지 일했다."),
        )
    )
    table = [(slots.person(), slots.place() + ending) for _ in range(rng.choice((2, 3)))]
    first = [fill(rng, said, p=person, v=value) for person, value in table]
    rng.shuffle(table)
    return " ".join(first + [fill(rng, again, p=person, v=value) for person, value in table])


def echo(rng: random.Random, split: str) -> str:
    """A paragraph that says something twice."""
    return rng.choice((_list_text, _list_text, _sentence_text, _table_text))(rng, Slots(rng, split))
