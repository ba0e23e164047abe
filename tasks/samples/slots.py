"""What differs between the splits: the names of persons and places, and the numbers.

Validation draws names, places, numbers, dates and times that training never sees, so a model can only get them right by
reading. They are made of the syllables and digits of training, so a tokenizer trained on that text can spell them.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Sequence

TRAIN, VALIDATION = "train", "validation"
SPLITS = (TRAIN, VALIDATION)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names are combined from a few common syllables, so that training shows each of them often and a small model learns to
# spell and to copy them. A pair that is an everyday word, or no likely name, is left out.
FAMILY_NAMES = tuple("김이박최정강조윤장임한오서신권황")
_GIVEN_FIRST, _GIVEN_SECOND = "민서지현준도하은수예윤시유재태성동영정채", "준우호진영아연희원빈혁석경은민수"
_NO_GIVEN_NAMES = _words("""
민진 민원 민은 민민 민석 서혁 서은 서민 서수 지진 지석 지경 현진 현영 현연 현은 현원 준준 준아 준연 준원 준진 준우
준경 준은 준빈 도호 도우 도아 도혁 도석 도진 도민 도수 하우 하호 하희 하혁 하석 하경 하수 은준 은연 은원 은빈 은혁
은은 은민 수준 수우 수영 수원 수혁 수석 수수 예우 예호 예영 예아 예연 예혁 예석 예경 예민 예수 윤준 윤원 윤빈 윤혁
윤민 시준 시호 시진 시영 시아 시희 시원 시빈 시혁 시석 시경 시민 시수 유우 유호 유아 유연 유희 유원 유혁 유석 유은
유수 재빈 재연 재아 재수 태빈 태아 태연 성석 성경 성희 성영 동준 동아 동연 동영 동경 동은 동진 동원 영원 영연 영혁
영영 정우 정준 정진 정영 정원 정경 정수 채우 채호 채진 채혁 채석 채경 채준 채민 채수
""")
_PLACE_PREFIX, _PLACE_FIRST, _PLACE_SECOND = "동서남북신", "대명백봉상송연운월은청화", "천곡암평림덕포계"


def _is_kept(name: str) -> bool:
    """Whether validation alone may write ``name``: about a third of the names, chosen by their checksum."""
    return zlib.crc32(name.encode("utf-8")) % 3 == 0


def _of_split(names: list[str]) -> dict[str, list[str]]:
    return {split: [name for name in names if _is_kept(name) == (split == VALIDATION)] for split in SPLITS}


_GIVEN_NAMES = [a + b for a in _GIVEN_FIRST for b in _GIVEN_SECOND if a + b not in _NO_GIVEN_NAMES]
PERSONS = _of_split([family + given for family in FAMILY_NAMES for given in _GIVEN_NAMES])
PLACES = _of_split([a + b + c for a in _PLACE_PREFIX for b in _PLACE_FIRST for c in _PLACE_SECOND])


def split_of_number(text: str) -> str:
    """The split that may write a number, a date or a time: validation where its digits sum to a multiple of four.

    Every digit stands in values of both splits, at every position, so only the whole value is new.
    """
    return VALIDATION if sum(int(character) for character in text if character.isdigit()) % 4 == 0 else TRAIN


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

    def _new_name(self, names: Sequence[str]) -> str:
        """A name that shares no syllable at the same place with an earlier one, so that the names of a text are not alike.

        A text with more names than there are first syllables gets one that is merely new.
        """
        for _ in range(100):
            name = self._rng.choice(names)
            parts = {f"{len(name)}{i}{syllable}" for i, syllable in enumerate(name)}
            if not parts & self._used:
                self._used |= parts | {name}
                return name
        return self._new(names)

    def person(self) -> str:
        """A full name."""
        return self._new_name(PERSONS[self._split])

    def place(self) -> str:
        """The name of a place, to be followed by what it is: 도서관, 시장, 마을."""
        return self._new_name(PLACES[self._split])

    def count(self) -> str:
        """A number of people or things."""
        return self._new_number(str(n) for n in range(111, 1000) if n % 10)

    def minutes(self) -> str:
        """A short time, without its unit."""
        return self._new_number(map(str, range(11, 60)))

    def price(self) -> str:
        """A sum of money, without its unit."""
        return self._new_number(f"{n:,}" for n in range(1050, 10000, 10))

    def years(self) -> tuple[str, str]:
        """A year long ago and a later one that a person born in it can live to see, without their unit."""
        early = self._new_number(map(str, range(1511, 1840)))
        return early, self._new_number(map(str, range(int(early) + 25, int(early) + 60)))

    def time(self) -> str:
        """A time of day, such as 오후 3시 20분."""
        hours = [f"오전 {hour}시" for hour in range(7, 12)] + [f"오후 {hour}시" for hour in range(1, 9)]
        return self._new_number(hour + minute for hour in hours for minute in ("", *(f" {m}분" for m in range(5, 60))))

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
            **dict(zip("yz", self.years(), strict=True)),
        }
