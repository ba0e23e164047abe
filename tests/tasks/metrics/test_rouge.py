"""ROUGE for Korean, the lead baseline, and what all metrics promise: no network, nothing on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import kiwipiepy
import pytest
from rouge_score.rouge_scorer import RougeScorer

from tasks.metrics.kiwi import HEAD, lead_sentence, lead_sentences, morphemes
from tasks.metrics.rouge import KoreanRouge, rouge_rows, syllables, words

KEYS = [
    "rouge1", "rouge2", "rougeL",
    "rouge1_words", "rouge2_words", "rougeL_words",
    "rouge1_syllables", "rouge2_syllables", "rougeL_syllables",
]  # fmt: skip
SUBWAY = "2022년 서울 지하철 요금이 크게 올랐다"
WORLD_CUP = "2022 카타르 월드컵 개막전에서 개최국 패배"
TEXTS = [
    SUBWAY,
    WORLD_CUP,
    "나는 학교에 간다.",
    "뿌꾸뿌꾸는 새로 나온 과자다. 뿌꾸뿌꾸가 인기다.",
    "ㅋㅋㅋ 정말 먹었엌ㅋㅋ",
    "😤 정말 👨‍👩‍👧 좋다",
    "KBS는 1.5% 올랐다고 밝혔다.",
    "?!",
]


def test_hand_worked_scores():
    # Morphemes 나 는 학교 에 가 ᆫ다 and 나 는 어제 학교 에서 오 었 다: 3 of 6 and of 8 in common; 1 pair of 5 and of 7.
    # White-space words: 1 of 3 and of 4.
    # Syllables 나는학교에간다 and 나는어제학교에서왔다: 6 of 7 and of 10 in common; 3 pairs of 6 and of 9.
    assert rouge_rows(["나는 학교에 간다"], [["나는 어제 학교에서 왔다"]]) == [
        {
            "rouge1": pytest.approx(6 / 14),
            "rouge2": pytest.approx(2 / 12),
            "rougeL": pytest.approx(6 / 14),
            "rouge1_words": pytest.approx(2 / 7),
            "rouge2_words": 0.0,
            "rougeL_words": pytest.approx(2 / 7),
            "rouge1_syllables": pytest.approx(12 / 17),
            "rouge2_syllables": pytest.approx(6 / 15),
            "rougeL_syllables": pytest.approx(12 / 17),
        }
    ]


def test_rows_are_the_callers_own():
    # The last rows are remembered, for a mean and an interval of the same texts.
    rows = rouge_rows(["비"], [["비"]])
    rows[0]["rouge1"] = 0.5
    rows.append({})
    assert rouge_rows(["비"], [["비"]]) == [dict.fromkeys(KEYS, 1.0)]


def test_order_of_words_matters_to_rouge_l_alone():
    [row] = rouge_rows(["하나 둘 셋"], [["셋 둘 하나"]])
    assert row["rouge1_words"] == 1.0
    assert row["rougeL_words"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("text", [*TEXTS, "네", "😤", "\u200b", "...", "e\u0301"])
def test_identical_texts_score_one_throughout(text):
    assert rouge_rows([text], [[text]]) == [dict.fromkeys(KEYS, 1.0)]


def test_korean_that_shares_only_a_number_is_not_the_same():
    default = RougeScorer(["rouge1"])
    assert default.score(WORLD_CUP, SUBWAY)["rouge1"].fmeasure == 1.0
    assert default.score("나는 학교에 간다", "나는 학교에 간다")["rouge1"].fmeasure == 0.0

    [row] = rouge_rows([SUBWAY], [[WORLD_CUP]])
    assert 0.0 < row["rouge1"] < 0.35
    assert row["rouge2"] == 0.0
    assert row["rouge1_words"] == 0.0  # 2022년 is not 2022


@pytest.mark.parametrize("prediction", ["", " \n\t"])
@pytest.mark.parametrize("reference", ["", "나는 학교에 간다"])
def test_blank_prediction_scores_zero(prediction, reference):
    assert rouge_rows([prediction], [[reference]]) == [dict.fromkeys(KEYS, 0.0)]


def test_best_reference_counts_for_each_score_by_itself():
    [row] = rouge_rows(["가 나 다 라"], [["가 나 하 호", "라 다 나 가", "파"]])
    assert row["rouge1_words"] == 1.0  # the second has all four words
    assert row["rouge2_words"] == pytest.approx(1 / 3)  # the first has 가 나
    assert row["rougeL_words"] == pytest.approx(2 / 4)  # the first again
    [first] = rouge_rows(["가 나 다 라"], [["가 나 하 호"]])
    assert first["rouge1_words"] == pytest.approx(2 / 4)


def test_compute_is_the_mean_of_the_rows_and_names_the_tokenizer():
    result = KoreanRouge().compute(predictions=["하나 둘", "하나 셋"], references=[["하나 둘"], ["하나 둘"]])
    assert list(result) == [*KEYS, "rouge_tokenizer"]
    assert result["rouge1_words"] == pytest.approx(0.75)
    assert result["rouge2_words"] == pytest.approx(0.5)
    assert result["rouge_tokenizer"] == f"kiwipiepy {kiwipiepy.__version__} morphemes"
    assert {type(result[key]) for key in KEYS} == {float}


def test_scores_do_not_depend_on_the_other_rows():
    predictions, references = TEXTS, [[text[2:] + " 정말"] for text in TEXTS]
    one_by_one = [rouge_rows([p], [r])[0] for p, r in zip(predictions, references, strict=True)]
    assert rouge_rows(predictions, references) == one_by_one
    assert rouge_rows(predictions[::-1], references[::-1]) == one_by_one[::-1]
    assert len({row["rouge1_syllables"] for row in one_by_one}) > 2  # the rows differ, so a mix-up would show


@pytest.mark.parametrize("workers", [1, 3])
def test_morphemes_do_not_depend_on_threads(monkeypatch, workers):
    expected = [morphemes([text])[0] for text in TEXTS]
    kiwi = kiwipiepy.Kiwi(num_workers=workers)
    monkeypatch.setattr("tasks.metrics.kiwi._kiwi", lambda: kiwi)
    assert morphemes(TEXTS * 5) == expected * 5


def test_decomposed_hangul_is_the_same_text():
    decomposed = [unicodedata.normalize("NFD", text) for text in TEXTS]
    assert decomposed[0] != TEXTS[0]
    assert rouge_rows(decomposed, [[text] for text in TEXTS]) == [dict.fromkeys(KEYS, 1.0)] * len(TEXTS)
    assert lead_sentence(unicodedata.normalize("NFD", "비가 온다. 춥다.")) == "비가 온다."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("나는 학교에 간다.", ["나", "는", "학교", "에", "가", "ᆫ다"]),
        ("KBS 뉴스", ["kbs", "뉴스"]),
        ("ㅋㅋㅋ, 좋다!", ["ㅋㅋㅋ", "좋", "다"]),
        ("😤 좋다", ["😤", "좋", "다"]),
        ("?!", ["?!"]),
        (" ", []),
    ],
)
def test_morphemes(text, expected):
    assert morphemes([text]) == [expected]


def test_words_and_syllables():
    assert words(["학교에  간다.\n"]) == [["학교에", "간다."]]
    assert syllables(["학교에  간다.\n"]) == [["학", "교", "에", "간", "다", "."]]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "nothing to score"),
        (["가", "나"], [["가"]], "2 predictions but 1 references"),
        (["가", "나"], [["가"], []], "row 2: there is no reference"),
        (["가"], ["가"], "give a list of texts"),
        (["가", None], [["가"], ["나"]], "row 2: the prediction is None"),
        (["가"], [[None]], "row 1: a reference is None"),
    ],
)
def test_rows_that_cannot_be_scored(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        rouge_rows(predictions, references)


@pytest.mark.parametrize(
    ("predictions", "references"),
    [([], []), (["가", "나"], [["가"]]), (["가"], [[]]), (["가"], ["가"]), (["가", None], [["가"], ["나"]])],
)
def test_compute_refuses_what_cannot_be_scored(predictions, references):
    with pytest.raises(ValueError):
        KoreanRouge().compute(predictions=predictions, references=references)


def test_metric_is_usable_after_an_error():
    metric = KoreanRouge()
    with pytest.raises(ValueError):
        metric.compute(predictions=["가", "나"], references=[["가"]])
    assert metric.compute(predictions=["가"], references=[["가"]])["rouge1"] == 1.0


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("첫 문장이다. 둘째 문장이다.", "첫 문장이다."),
        ("\n\n  \n첫 문장이다. 둘째 문장이다.", "첫 문장이다."),
        ("요금은 1.5% 올랐다. 다음 달부터다.", "요금은 1.5% 올랐다."),
        ("마침표가 없다", "마침표가 없다"),
        ("...", "..."),
        ("😤", "😤"),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_lead_sentence(document, expected):
    assert lead_sentence(document) == expected


def test_lead_sentences_of_several_documents():
    long_sentence = "끝나지 않는 이야기가 " * 60 + "끝났다."
    assert len(long_sentence) > HEAD
    documents = [f"{long_sentence} 다음 문장이다.", "", "비가 온다. " * 200, "눈이 온다."]
    assert lead_sentences(documents) == [long_sentence, "", "비가 온다.", "눈이 온다."]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_can_tokenise_too():
    morphemes(TEXTS)  # the parent has a Kiwi and its threads; the child inherits the object without the threads
    child = multiprocessing.get_context("fork").Process(target=morphemes, args=(TEXTS,))
    child.start()
    child.join(60)
    finished = child.exitcode
    child.kill()
    child.join()
    assert finished == 0


OFFLINE = """
import json, socket

tried = []
def refuse(*args, **kwargs):
    tried.append(str(args))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

from tasks.metrics.classification import Classification
from tasks.metrics.korquad import Korquad
from tasks.metrics.language_model import LanguageModel
from tasks.metrics.rouge import KoreanRouge

texts = {"predictions": ["서울"], "references": [["서울"]]}
rouge = KoreanRouge().compute(**texts)["rouge1"]
f1 = Korquad().compute(**texts)["f1"]
accuracy = Classification().compute(predictions=["참"], references=["참"], labels=["참", "거짓"])["accuracy"]
counts = {"tokens": 1, "characters": 1, "unknown_tokens": 0}
perplexity = LanguageModel().compute(predictions=[0.0], references=[counts])["perplexity"]
print(json.dumps([rouge, f1, accuracy, perplexity, tried]))
"""


def test_no_metric_needs_the_network_or_leaves_files(tmp_path):
    root = Path(__file__).parents[3]
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))},
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "PYTHONPATH": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1.0, 100.0, 1.0, 1.0, []]
    assert list(home.rglob("*")) == []
