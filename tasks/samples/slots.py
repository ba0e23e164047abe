"""What differs between the splits: the names of persons and places, and the numbers.

Validation draws names, places, numbers, dates and times that training never sees, so a model can only get them right by
reading. They are made of the syllables and digits of training, so a tokenizer trained on that text can spell them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)

FAMILY_NAMES = tuple("김이박최정강조윤장임한오서신권황안송류홍")


GIVEN_NAMES = [
    *(
        "민준",
        "서연",
        "지호",
        "하은",
        "도현",
        "수빈",
        "예진",
        "현우",
        "은서",
        "준혁",
        "지민",
        "태윤",
        "유진",
        "성호",
        "채원",
    ),
    *(
        "동현",
        "미경",
        "영숙",
        "재훈",
        "나래",
        "정희",
        "경수",
        "소영",
        "민서",
        "시우",
        "윤아",
        "주원",
        "혜진",
        "승민",
        "다은",
    ),
    *(
        "상철",
        "보람",
        "기영",
        "진아",
        "석진",
        "은지",
        "종수",
        "선우",
        "가온",
        "명희",
        "순자",
        "용준",
        "세영",
        "아름",
        "원석",
    ),
    *(
        "규리",
        "범수",
        "초희",
        "한결",
        "인호",
        "연주",
        "대성",
        "효정",
        "찬영",
        "금희",
        "두리",
        "병우",
        "슬기",
        "철민",
        "형준",
    ),
]

# A place is a direction or an age and a stem, as in 남백곡 or 신월평.
PLACE_PREFIXES = tuple("동서남북신상하외")
PLACE_STEMS = [
    *(
        "금천",
        "남평",
        "대곡",
        "명호",
        "백암",
        "봉림",
        "상덕",
        "송천",
        "연포",
        "운산",
        "월평",
        "은곡",
        "청암",
        "화림",
        "해덕",
    ),
    *(
        "장천",
        "덕촌",
        "가람",
        "다솔",
        "미르",
        "누리",
        "한들",
        "솔뫼",
        "고운",
        "물안",
        "배꽃",
        "버들",
        "샘골",
        "학마",
        "도담",
    ),
]


def split_of_name(family: str, given: str) -> str:
    """The split that may write a full name: a quarter of the combinations is kept for validation.

    It is the combination that is new: the same given name goes with other family names in training.
    """
    return VALIDATION if (FAMILY_NAMES.index(family) + GIVEN_NAMES.index(given)) % 4 == 0 else TRAIN


def split_of_place(prefix: str, stem: str) -> str:
    """The split that may write the name of a place, again by the combination."""
    return VALIDATION if (PLACE_PREFIXES.index(prefix) + PLACE_STEMS.index(stem)) % 4 == 0 else TRAIN


def split_of_number(text: str) -> str:
    """The split that may write a number, a date or a time: validation where its digits sum to a multiple of four.

    Every digit stands in values of both splits, at every position, so only the whole value is new.
    """
    return VALIDATION if sum(int(character) for character in text if character.isdigit()) % 4 == 0 else TRAIN


PERSONS = {
    split: [
        (family, given) for family in FAMILY_NAMES for given in GIVEN_NAMES if split_of_name(family, given) == split
    ]
    for split in SPLITS
}
PLACES = {
    split: [
        (prefix, stem) for prefix in PLACE_PREFIXES for stem in PLACE_STEMS if split_of_place(prefix, stem) == split
    ]
    for split in SPLITS
}


class Slots:
    """Draws names, places and numbers of one split, none of them twice."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self._rng = rng
        self._split = split
        self._used: set[str] = set()

    def _new(self, options: Sequence[str]) -> str:
        choice = self._rng.choice([option for option in options if option not in self._used])
        self._used.add(choice)
        return choice

    def _new_number(self, options: Iterable[str]) -> str:
        return self._new([option for option in options if split_of_number(option) == self._split])

    def _new_name(self, names: Sequence[tuple[str, str]]) -> str:
        """No part of a name is drawn again, so that two names of a text are never alike."""
        name = self._rng.choice([name for name in names if not self._used.intersection(name)])
        self._used.update(name)
        return "".join(name)

    def person(self) -> str:
        """A full name."""
        return self._new_name(PERSONS[self._split])

    def place(self) -> str:
        """The name of a place, to be followed by what it is: 도서관, 시장, 마을."""
        return self._new_name(PLACES[self._split])

    def count(self) -> str:
        """A number of people or things."""
        return self._new_number(map(str, range(110, 1000, 10)))

    def minutes(self) -> str:
        """A short time, without its unit."""
        return self._new_number(map(str, range(11, 60)))

    def price(self) -> str:
        """A sum of money, without its unit."""
        return self._new_number(f"{n:,}" for n in range(1100, 10000, 100))

    def year(self) -> str:
        """A year long ago, without its unit."""
        return self._new_number(map(str, range(1511, 1899)))

    def time(self) -> str:
        """A time of day, such as 오후 3시 20분."""
        hours = [f"오전 {hour}시" for hour in range(7, 12)] + [f"오후 {hour}시" for hour in range(1, 9)]
        return self._new_number(
            hour + minute for hour in hours for minute in ("", *(f" {m}분" for m in range(10, 60, 5)))
        )

    def date(self) -> str:
        """A day of the year, such as 5월 13일."""
        return self._new_number(f"{month}월 {day}일" for month in range(1, 13) for day in range(1, 29))

    def all(self) -> dict[str, str]:
        """A value for every letter that the story and notice templates use."""
        return {
            **{key: self.person() for key in "pqr"},
            **{key: self.place() for key in "abc"},
            **{key: self.count() for key in "nm"},
            **{key: self.minutes() for key in "kl"},
            **{key: self.time() for key in "tu"},
            **{key: self.date() for key in "de"},
            **{key: self.price() for key in "wx"},
            **{key: self.year() for key in "yz"},
        }
