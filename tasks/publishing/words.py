"""What metrics and baselines are called: by the Hub, and by people in the languages of a card."""

from __future__ import annotations

#: Metric of all_results.json -> (metric id of the Hub, name in English, name in Korean).
METRICS: dict[str, tuple[str, str, str]] = {
    **{
        f"rouge{kind}{unit}": ("rouge", f"ROUGE-{kind}, {english}", f"ROUGE-{kind} ({korean})")
        for unit, english, korean in (
            ("", "morphemes", "형태소"),
            ("_words", "words", "어절"),
            ("_syllables", "syllables", "음절"),
        )
        for kind in "12L"
    },
    "accuracy": ("accuracy", "accuracy", "정확도"),
    "macro_f1": ("f1", "macro-F1", "매크로 F1"),
    "exact_match": ("exact_match", "exact match (0-100)", "완전 일치 (0-100)"),
    "f1": ("f1", "character F1 (0-100)", "글자 F1 (0-100)"),
    "free_exact_match": ("exact_match", "exact match of free answers (0-100)", "자유 생성의 완전 일치 (0-100)"),
    "free_f1": ("f1", "character F1 of free answers (0-100)", "자유 생성의 글자 F1 (0-100)"),
    "perplexity": ("perplexity", "perplexity per token", "토큰당 퍼플렉시티"),
    "bits_per_character": ("bits_per_character", "bits per character", "글자당 비트"),
    "tokens_per_character": ("tokens_per_character", "tokens per character", "글자당 토큰"),
    "unknown_token_share": ("unknown_token_share", "share of unknown tokens", "미등록 토큰 비율"),
    "repetition": ("repetition", "repetition of samples", "생성문의 반복"),
    "distinct_1": ("distinct_1", "distinct-1 of samples", "생성문의 distinct-1"),
    "distinct_2": ("distinct_2", "distinct-2 of samples", "생성문의 distinct-2"),
    "eval_loss": ("loss", "loss (nats per labelled token)", "손실 (레이블 토큰당 nat)"),
}

#: Baseline of all_results.json -> its name in Korean.
BASELINES = {
    "lead sentence": "첫 문장",
    "majority label": "최다 레이블",
    "word matching": "단어 맞추기",
    "character unigrams": "글자 유니그램",
}

LANGUAGES = ("en", "ko")


def metric_id(name: str) -> str:
    """The Hub's id of a metric; ``per_label.neutral.f1`` is an ``f1``."""
    return METRICS[name][0] if name in METRICS else name.rsplit(".", 1)[-1]


def metric_label(name: str, language: str) -> str:
    """What people call a metric; its own name where the table does not have it."""
    return METRICS[name][1 + LANGUAGES.index(language)] if name in METRICS else name.removeprefix("per_label.")


def baseline_label(name: str, language: str) -> str:
    """What people call a baseline."""
    return BASELINES.get(name, name) if language == "ko" else name
