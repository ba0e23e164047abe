"""Questions about an outing whose answers are everyday words: a day, a ride, a companion, what somebody bought.

The persons and places around them are new in validation; the answers are words of training in a new text. A model that
begins with nothing learns these from a thousand rows, but not the questions that ask for a name it has never seen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from josa import fill
from slots import Slots


@dataclass(frozen=True)
class Detail:
    """One thing to tell: the words it can be, sentences that say it (``{v}``), and questions that ask for it."""

    words: tuple[str, ...]
    said: tuple[str, ...]
    questions: tuple[str, ...]


DETAILS = (
    Detail(
        ("월요일", "화요일", "수요일", "목요일", "금요일", "토요일", "일요일"),
        ("그날은 {v:이었다}.", "달력을 보니 {v:이었다}."),
        ("{p} 씨가 {a}{place}에 간 날은 무슨 요일이었나요?", "{p} 씨는 무슨 요일에 나갔나요?"),
    ),
    Detail(
        ("버스", "지하철", "자전거", "택시", "기차"),
        ("갈 때는 {v:을} 탔다.", "길이 멀어 {v:을} 타고 갔다."),
        ("{p} 씨는 무엇을 타고 {a}{place}에 갔나요?", "{p} 씨가 탄 것은 무엇인가요?"),
    ),
    Detail(
        ("동생", "친구", "어머니", "할머니", "삼촌", "조카"),
        ("곁에는 {v:이} 있었다.", "{v:과} 둘이서 걸었다."),
        ("{p} 씨는 누구와 {a}{place}에 갔나요?", "{p} 씨와 함께 간 사람은 누구인가요?"),
    ),
    Detail(
        ("비빔밥", "냉면", "칼국수", "만두", "불고기", "김밥"),
        ("점심으로 {v:을} 먹었다.", "배가 고파 {v:을} 시켰다."),
        ("{p} 씨는 점심에 무엇을 먹었나요?", "{p} 씨가 먹은 음식은 무엇인가요?"),
    ),
    Detail(
        ("사과", "배추", "생선", "두부", "고구마", "참기름"),
        ("돌아오는 길에 {v:을} 샀다.", "장바구니에는 {v:이} 들어 있었다."),
        ("{p} 씨는 무엇을 샀나요?", "{p} 씨가 산 것은 무엇인가요?"),
    ),
    Detail(
        ("장미", "국화", "튤립", "백합", "수국", "해바라기"),
        ("길가에는 {v:이} 피어 있었다.", "마당에 {v:이} 가득했다."),
        ("{p} 씨가 본 꽃은 무엇인가요?", "그날 무슨 꽃이 피어 있었나요?"),
    ),
    Detail(
        ("기타", "서예", "요가", "도예", "뜨개질"),
        ("요즘 배우는 것은 {v:이다}.", "저녁에는 {v:을} 배운다."),
        ("{p} 씨는 요즘 무엇을 배우나요?", "{p} 씨가 배우는 것은 무엇인가요?"),
    ),
)
PLACES = ("도서관", "시장", "공원", "박물관", "식당", "찻집", "문화센터", "꽃집")
OPENINGS = ("{p} 씨는 {a}{place}에 갔다.", "{p} 씨가 {a}{place:을} 찾았다.", "{p} 씨는 {a}{place}에 다녀왔다.")


def context_with_question(rng: random.Random, split: str) -> tuple[str, str, str]:
    """A context of three to five sentences, one question, and its answer, which stands in the context once."""
    slots = Slots(rng, split)
    words = {"p": slots.person(), "a": slots.place(), "place": rng.choice(PLACES)}
    details = [(detail, rng.choice(detail.words)) for detail in rng.sample(DETAILS, rng.choice((2, 3, 4)))]
    sentences = [fill(rng, rng.choice(OPENINGS), **words)]
    sentences += [fill(rng, rng.choice(detail.said), v=value) for detail, value in details]
    asked, answer = rng.choice(details)
    return " ".join(sentences), fill(rng, rng.choice(asked.questions), **words), answer
