"""Running text: short paragraphs from daily life that come back to the same persons, places and numbers.

Coming back is what teaches a small model to copy a name that it has never seen. A part of the paragraphs are
conversations in which somebody asks about what was just told.
"""

from __future__ import annotations

import random

import questions
from josa import fill
from slots import Slots

#: A scene is a row of moments; a paragraph takes one wording of every moment.
SCENES = (
    (  # a new neighbour
        ("{p} 씨가 {a}마을로 이사를 왔다.", "지난주 {a}마을에 {p} 씨가 이사를 왔다."),
        ("{p} 씨는 이웃에게 떡을 돌렸다.", "{a}마을 사람들은 {p} 씨를 반갑게 맞았다."),
        ("옆집 {q} 씨는 {p} 씨에게 {a}시장을 소개했다.", "옆집 {q} 씨가 {p} 씨의 짐을 날라 주었다."),
        ("[이제|어느새] {p} 씨와 {q} 씨는 {a}마을에서 둘도 없는 친구다.", "{p} 씨는 {q} 씨에게 참 고맙다고 말했다."),
    ),
    (  # the library
        ("{a}도서관에서 알려 드립니다.", "{a}도서관을 찾아 주셔서 고맙습니다."),
        ("{a}도서관은 {d}에 책 잔치를 엽니다.", "{d}에 {a}도서관에서 책 잔치가 열립니다."),
        ("{d} {t}에는 작가 {p} 씨가 강연을 합니다.", "강연은 작가 {p} 씨가 {t}에 시작합니다."),
        (
            "{p} 씨의 책을 가져오시면 {p} 씨가 이름을 써 드립니다.",
            "{p} 씨를 만나고 싶은 분은 {d}에 {a}도서관으로 오세요.",
        ),
        ("[자세한 내용은|궁금한 점은] {a}도서관에 물어 주십시오.", "{t}까지 오시면 됩니다."),
    ),
    (  # the market
        ("{p} 씨는 {a}시장에서 오랫동안 생선을 판다.", "{a}시장에 가면 생선 가게를 하는 {p} 씨를 만날 수 있다."),
        ("{p} 씨의 가게에서는 고등어가 {w}원이고 갈치가 {x}원이다.", "오늘 고등어는 {w}원, 갈치는 {x}원이다."),
        ("손님 {q} 씨가 고등어값을 묻자 {p} 씨는 {w}원이라고 했다.", "{q} 씨는 갈치를 고르고 {x}원을 냈다."),
        ("{q} 씨는 {a}시장에 올 때마다 {p} 씨를 찾는다.", "{p} 씨는 {q} 씨에게 조개를 덤으로 주었다."),
    ),
    (  # a trip
        ("{p} 씨와 {q} 씨는 {d}에 여행을 떠났다.", "{d}, {p} 씨는 {q} 씨와 함께 길을 나섰다."),
        ("두 사람은 {t}에 {a}역에서 기차를 탔다.", "{a}역에서 {t}에 떠나는 기차를 탔다."),
        ("기차는 {a}역을 떠나 {b}역에 닿았다.", "{a}역에서 {b}역까지는 {k}분이 걸렸다."),
        (
            "{b}역 앞에서 {p} 씨는 지도를 펴고 {q} 씨는 사진을 찍었다.",
            "{b}역 앞 식당에서 {q} 씨는 국수를, {p} 씨는 만두를 먹었다.",
        ),
        ("{p} 씨는 {b}역의 노을을 잊지 못한다.", "{q} 씨는 {p} 씨에게 또 {b}역에 오자고 했다."),
    ),
    (  # cooking
        ("{p} 씨가 [된장찌개|김치찌개|미역국] 끓이는 법을 알려 주었다.", "{p} 씨의 요리 수업이 {a}회관에서 열렸다."),
        ("먼저 물을 {k}분 동안 끓인다.", "{p} 씨는 먼저 멸치로 국물을 냈다."),
        (
            "{q} 씨가 몇 분이나 끓이느냐고 묻자 {p} 씨는 {l}분이라고 했다.",
            "{p} 씨의 말대로 {q} 씨는 {l}분을 더 끓였다.",
        ),
        ("{l}분이 지나자 구수한 냄새가 났다.", "{l}분 뒤에 {q} 씨가 간을 보았다."),
        ("{q} 씨는 {p} 씨 덕분에 요리가 즐거워졌다.", "{p} 씨는 {q} 씨의 솜씨를 칭찬했다."),
    ),
    (  # weather
        ("{d}에는 {a}군과 {b}군에 비가 내렸다.", "{d} {t}, {a}군과 {b}군에 소나기가 쏟아졌다."),
        (
            "{a}군에는 {n}밀리미터, {b}군에는 {m}밀리미터가 왔다.",
            "비의 양은 {a}군이 {n}밀리미터, {b}군이 {m}밀리미터였다.",
        ),
        ("{n}밀리미터가 내린 {a}군에서는 길이 잠겼다.", "{m}밀리미터가 내린 {b}군에서는 다리가 막혔다."),
        ("{a}군은 {d}부터 피해를 살피고 있다.", "{b}군에 사는 {p} 씨는 밤새 잠을 못 잤다고 했다."),
    ),
    (  # an imagined figure of the past
        ("학자 {p:은} {y}년 {a}고을에서 태어났다.", "{y}년 {a}고을에서 학자 {p:이} 태어났다."),
        ("{p:은} 스승 {q:을} 찾아 {b}고을로 갔다.", "{p}의 스승은 {b}고을에 살던 {q:이었다}."),
        ("{q:은} {b}고을에서 {p:을} 가르쳤다.", "{b}고을에서 {p:은} {q}에게 글을 배웠다."),
        ("{z}년 {p:은} {a}고을로 돌아와 책을 썼다.", "{p:이} {a}고을로 돌아온 해는 {z}년이다."),
        ("{z}년에 쓴 그 책은 지금도 {a}고을에 남아 있다.", "{q:은} 그 책을 읽고 {p:을} 자랑스러워했다."),
    ),
    (  # a festival
        ("{a}마을에서 {d}부터 등불 축제가 열린다.", "{d}에 {a}마을의 등불 축제가 시작된다."),
        ("노래는 {p} 씨가, 춤은 {q} 씨가 맡았다.", "무대에서는 {p} 씨가 노래하고 {q} 씨가 춤춘다."),
        ("{p} 씨는 {t}에 노래하고 {q} 씨는 {u}에 춤춘다.", "{p} 씨의 노래는 {t}에, {q} 씨의 춤은 {u}에 볼 수 있다."),
        ("{t} 노래를 놓쳐도 {u} 춤이 기다린다.", "{p} 씨와 {q} 씨는 {a}마을에서 함께 자랐다."),
        ("{d}, {a}마을에서 만나자.", "올해도 {a}마을은 등불로 환하다."),
    ),
    (  # a meeting
        ("{t}에 시작한 회의에서 {p} 과장이 발표를 했다.", "{p} 과장은 {t} 회의에서 새 계획을 내놓았다."),
        ("{p} 과장은 {a}시에 가게를 내자고 했다.", "{p} 과장이 고른 곳은 {a}시였다."),
        ("{q} 대리는 {a}시보다 {b}시가 낫다고 했다.", "그러나 {q} 대리는 {b}시를 골랐다."),
        (
            "{b}시에는 손님 {n}명이, {a}시에는 손님 {m}명이 있다는 조사가 나왔다.",
            "부장은 중립을 지키며 {a}시와 {b}시를 모두 살피자고 했다.",
        ),
        (
            "결국 {p} 과장과 {q} 대리가 {b}시와 {a}시에 다녀오기로 했다.",
            "{p} 과장은 {q} 대리의 말에 모순이 없다고 했다.",
        ),
    ),
    (  # sports
        ("{a}팀과 {b}팀이 {d}에 맞붙었다.", "{d}에 {a}팀과 {b}팀의 축구 경기가 열렸다."),
        (
            "{a}팀에서는 {p} 선수가, {b}팀에서는 {q} 선수가 뛰었다.",
            "{a}팀의 {p} 선수와 {b}팀의 {q} 선수가 눈길을 끌었다.",
        ),
        ("먼저 {p} 선수가 골을 넣어 {a}팀이 앞섰다.", "{b}팀의 {q} 선수가 먼저 골을 넣었다."),
        ("관중 {n}명이 {p} 선수와 {q} 선수의 이름을 외쳤다.", "{q} 선수는 {p} 선수에게 악수를 청했다."),
        ("{a}팀과 {b}팀은 다시 만나기로 했다.", "{p} 선수는 {b}팀이 참 강했다고 말했다."),
    ),
    (  # a lost purse
        ("{p} 씨는 {a}공원에서 지갑을 주웠다.", "{d} {a}공원을 걷던 {p} 씨가 지갑을 발견했다."),
        ("지갑에는 {w}원과 {q} 씨의 사진이 있었다.", "지갑 안에는 {q} 씨의 이름과 {w}원이 들어 있었다."),
        ("{p} 씨는 {q} 씨에게 전화를 걸었다.", "{p} 씨는 {a}공원에서 {q} 씨를 기다렸다."),
        ("{q} 씨는 {w}원이 그대로 있는 것을 보고 {p} 씨에게 절을 했다.", "{q} 씨는 {p} 씨 덕분에 {w}원을 되찾았다."),
    ),
    (  # a school
        ("{a}초등학교에 {p} 선생님이 새로 왔다.", "{p} 선생님은 {a}초등학교에서 {n}명을 가르친다."),
        ("학생 {q:은} {p} 선생님을 잘 따른다.", "{p} 선생님은 학생 {q}의 글솜씨에 놀랐다."),
        ("{p} 선생님은 {q}에게 시집을 빌려주었다.", "{q:은} {p} 선생님에게 편지를 썼다."),
        ("{d} 글짓기 대회에서 {q:은} {a}초등학교 대표로 나갔다.", "{q:은} {d}에 상을 받았다."),
        ("{p} 선생님은 {q:이} 자랑스럽다고 말했다.", "{a}초등학교 학생들은 {q}에게 박수를 보냈다."),
    ),
)

#: How a conversation about a context goes; ``{question}`` and ``{answer}`` come from the question-answering families.
#: An answer follows a space and not a quotation mark, so that a tokenizer spells it as it is spelled in the context.
TALKS = (
    "{p} 씨가 물었다. “{question}” {q} 씨는 {answer:이라고} 답했다.",
    "“{question}” {p} 씨의 물음에 {q} 씨는 {answer:이라고} 알려 주었다.",
    "{p} 씨는 “{question}” 하고 물었다. 답은 {answer:이었다}.",
    "누군가 “{question}” 하고 묻자 {p} 씨가 {answer:이라고} 답했다.",
    "문제를 하나 내겠다. {question} 답은 {answer:이다}.",
)


def scene(rng: random.Random, split: str) -> str:
    """A paragraph that tells one scene."""
    values = Slots(rng, split).all()
    return " ".join(fill(rng, rng.choice(moment), **values) for moment in rng.choice(SCENES))


def conversation(rng: random.Random, split: str) -> str:
    """A paragraph in which somebody asks about what the first sentences tell."""
    slots = Slots(rng, split)
    context, pairs = questions.context_with_questions(rng, split)
    told = [
        fill(rng, rng.choice(TALKS), p=slots.person(), q=slots.person(), question=q, answer=a)
        for q, a in rng.sample(pairs, rng.choice((1, 2)))
    ]
    return " ".join([context, *told])
