"""Natural language inference: ``premise <sep> hypothesis <nli> label <eos>``, the loss on the label."""

from __future__ import annotations

from typing import Any

from tasks.base import CardText, Column, HubDataset, Part, Separator, Source
from tasks.labels import SEP, Labels
from tasks.text import text_of

NLI_SEPARATOR = Separator("<nli>")


class NLI(Labels):
    """Does the hypothesis follow from the premise? Measured by accuracy and macro-F1, beside the majority label."""

    name = "nli"
    separators = (SEP, NLI_SEPARATOR)
    input_columns = (
        Column("premise", "what is known", ("sentence1", "gold_sentence1", "전제", "문장1")),
        Column("hypothesis", "what may follow from it", ("sentence2", "gold_sentence2", "가설", "문장2")),
    )
    target_columns = (
        Column(
            "label",
            "entailment, neutral or contradiction; 0, 1, 2 in that order; or 함의, 중립, 모순",
            ("gold_label", "레이블", "라벨"),
        ),
    )
    default_dataset = HubDataset("klue/klue", "nli", "train", "validation", "cc-by-sa-4.0")
    # In the order of KLUE's integers, which XNLI and KorNLI share. Each word is one token of KoGPT2, so no label is favoured
    # by its length and one forward pass scores all three. 함의, the usual word for entailment, would be two.
    label_words = {"entailment": "참", "neutral": "중립", "contradiction": "모순"}
    label_aliases = {
        **dict.fromkeys(("0", "참", "함의", "수반", "entail", "e"), "entailment"),
        **dict.fromkeys(("1", "중립", "n"), "neutral"),
        **dict.fromkeys(("2", "모순", "거짓", "contradict", "c"), "contradiction"),
    }
    known_labels = "entailment, neutral, contradiction (any case), 0, 1, 2 in that order, and 함의, 중립, 모순"
    grouped_by = "premise"
    corpus_columns = ("premise", "hypothesis")
    card = {
        "en": CardText(
            "decides whether a Korean hypothesis follows from a premise (entailment), contradicts it (contradiction), or "
            "neither (neutral)",
            "Pairs of short sentences like those it was trained on. The label is chosen by comparing the probabilities of "
            "three words, so there is always an answer, and it says nothing of how sure it is.",
            (
                "Models of this task often read the label off the wording of the hypothesis alone.",
                "It judges the pair, not the world: a true sentence that the premise does not support is no entailment.",
                "The scores are not calibrated probabilities.",
            ),
        ),
        "ko": CardText(
            "한국어 가설이 전제에서 따라 나오는지(entailment), 전제와 모순되는지(contradiction), 어느 쪽도 아닌지(neutral) "
            "판단합니다",
            "학습 데이터와 비슷한 짧은 문장 쌍. 세 단어의 확률을 비교해 고르므로 언제나 답이 있으며, 얼마나 확실한지는 알 "
            "수 없습니다.",
            (
                "이 과제의 모델은 가설의 표현만 보고 답을 맞히는 일이 많습니다.",
                "사실인지가 아니라 두 문장의 관계를 판단합니다. 맞는 말이라도 전제가 뒷받침하지 않으면 함의가 아닙니다.",
                "점수는 보정된 확률이 아닙니다.",
            ),
        ),
    }
    usage_example = {
        "premise": "민준이는 어제 도서관에서 책을 두 권 빌렸다.",
        "hypothesis": "민준이는 어제 도서관에 갔다.",
    }

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``premise <sep> hypothesis <nli>``; only the premise may be cut."""
        return (Source(text_of(row, "premise")), SEP, text_of(row, "hypothesis"), NLI_SEPARATOR)
