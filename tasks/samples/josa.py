"""Korean particles chosen by sound, and templates that are filled with them.

A particle depends on whether the word before it ends in a consonant. Templates therefore name a particle by its form
after a consonant, ``{person:은}``, and :class:`Word` writes the one that fits: 김민준은, 박지우는.
"""

from __future__ import annotations

import random
import re

#: After a consonant -> after a vowel. The copula is listed in the forms that the templates use.
PARTICLES = {
    "은": "는",
    "이": "가",
    "을": "를",
    "과": "와",
    "으로": "로",
    "이나": "나",
    "이다": "다",
    "이고": "고",
    "이며": "며",
    "이라": "라",
    "이라는": "라는",
    "이라고": "라고",
    "이었다": "였다",
    "이었고": "였고",
}

# Final consonant of each digit as it is read (영 일 이 삼 사 오 육 칠 팔 구); "" where it ends in a vowel.
_DIGIT_FINALS = ("ㅇ", "ㄹ", "", "ㅁ", "", "", "ㄱ", "ㄹ", "ㄹ", "")
# The same for a number that ends in that many zeros (십 백 천 만); beyond 만, 억 and its kin begin at eight zeros.
_ZERO_FINALS = {1: "ㅂ", 2: "ㄱ", 3: "ㄴ", 4: "ㄴ", 5: "ㄴ", 6: "ㄴ", 7: "ㄴ"}
_FIRST_SYLLABLE, _LAST_SYLLABLE, _FINALS_PER_VOWEL, _RIEUL = 0xAC00, 0xD7A3, 28, 8


def final_consonant(word: str) -> str:
    """How ``word`` ends: "" for a vowel, "ㄹ" for rieul, any other text for any other consonant.

    Digits count as they are read in Korean (10 is 십, 3,000 is 삼천). Closing quotes and brackets are skipped,
    since the particle follows the sound of the word inside them.
    """
    word = word.rstrip("'\"’”)」』")
    if number := re.search(r"\d[\d,]*$", word):
        digits = number.group().replace(",", "")
        zeros = len(digits) - len(digits.rstrip("0"))
        if zeros == 0 or not digits.strip("0"):
            return _DIGIT_FINALS[int(digits[-1])]
        return _ZERO_FINALS.get(zeros, "ㄱ")
    code = ord(word[-1])
    if not _FIRST_SYLLABLE <= code <= _LAST_SYLLABLE:
        raise ValueError(f"cannot tell how {word!r} is read; end it in a Hangul syllable or a digit")
    final = (code - _FIRST_SYLLABLE) % _FINALS_PER_VOWEL
    return "" if final == 0 else "ㄹ" if final == _RIEUL else "받침"


def josa(word: str, particle: str) -> str:
    """``word`` with ``particle`` (named by its form after a consonant) in the form that fits."""
    if particle not in PARTICLES:
        raise ValueError(f"unknown particle {particle!r}; known: {' '.join(PARTICLES)}")
    final = final_consonant(word)
    takes_vowel_form = final == "" or (final == "ㄹ" and particle == "으로")  # 서울로, not 서울으로
    return word + (PARTICLES[particle] if takes_vowel_form else particle)


class Word(str):
    """Text that takes a particle as its format specification: ``f"{Word('책'):을}"`` is 책을."""

    def __format__(self, particle: str) -> str:
        return josa(str(self), particle) if particle else str(self)


def fill(rng: random.Random, template: str, **values: str) -> str:
    """Choose one side of every ``[one|other]`` in ``template`` (they may be nested), then put ``values`` in."""
    while choice := re.search(r"\[([^\[\]]*)\]", template):
        template = template[: choice.start()] + rng.choice(choice.group(1).split("|")) + template[choice.end() :]
    return template.format_map({key: Word(value) for key, value in values.items()})
