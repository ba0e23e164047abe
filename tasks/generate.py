"""Text generation: ``<bos> text <eos>``, the loss on the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base import BOS, CardText, Column, Example, HubDataset, Metric, Part, Prediction, Source, Task
from tasks.text import text_of

#: Words, and at most characters, of the text that begin a sample: enough to set a topic, and the rest is the model's own.
SAMPLE_WORDS = 5
SAMPLE_CHARACTERS = 40


class Generate(Task):
    """Learn a style or a domain from plain text; measured by perplexity and bits per character.

    Bits per character are the figure to compare models by: perplexity is per token, so a tokenizer with longer tokens has
    a higher one for the same text.
    """

    name = "generate"
    output_type = "loglikelihood"
    page = "continued"
    input_columns = (
        Column(
            "text",
            "the text",
            ("content", "document", "sentence", "article", "텍스트", "글", "본문", "원문", "내용", "문장"),
            sentences=True,
        ),
    )
    target_columns = ()
    # 20231101.ko has 647,897 articles and only a train split; --max_train_samples keeps a first run short.
    default_dataset = HubDataset("wikimedia/wikipedia", "20231101.ko", "train", None, "cc-by-sa-3.0")
    main_metric = "bits_per_character"
    metrics = {
        "bits_per_character": Metric("bits_per_character", "bits per character", "글자당 비트", higher=False),
        "perplexity": Metric("perplexity", "perplexity per token", "토큰당 퍼플렉시티", higher=False),
        "tokens_per_character": Metric("tokens_per_character", "tokens per character", "글자당 토큰"),
        "unknown_token_share": Metric("unknown_token_share", "share of unknown tokens", "미등록 토큰 비율"),
        "repetition": Metric("repetition", "repetition of samples", "생성문의 반복"),
        "distinct_1": Metric("distinct_1", "distinct-1 of samples", "생성문의 distinct-1"),
        "distinct_2": Metric("distinct_2", "distinct-2 of samples", "생성문의 distinct-2"),
    }
    baselines = {"character unigrams": "글자 유니그램"}
    corpus_columns = ("text",)
    max_new_tokens = 64
    streaming = True
    do_sample = True  # greedy decoding of open text falls into loops (Holtzman et al. 2020)
    card = {
        "en": CardText(
            "continues a Korean text in the style of its training data",
            "Drafts and experiments with text like that of the training data, and a start for fine-tuning on a task.",
            (
                "What it writes is likely, not true: facts, names and quotations are made up.",
                "It repeats what its data holds, prejudice and personal details included.",
                "It follows no instructions and holds no conversation.",
            ),
        ),
        "ko": CardText(
            "학습 데이터의 문체로 한국어 글을 이어 씁니다",
            "학습 데이터와 비슷한 글의 초안 작성과 실험, 다른 과제로 미세 조정할 때의 출발점.",
            (
                "사실인지와 상관없이 그럴듯한 글을 쓰며, 사실과 이름과 인용을 지어냅니다.",
                "데이터에 있는 편견과 개인 정보를 되풀이할 수 있습니다.",
                "지시를 따르거나 대화하지 않습니다.",
            ),
        ),
    }
    usage_example = {"text": "옛날 어느 마을에"}

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``<bos>`` and the beginning that the model is to continue, which may be empty.

        White space at its end is left out: the tokens of a text hold the space before a word, not the one after it.
        """
        return (BOS,) if row.get("text") in (None, "") else (BOS, text_of(row, "text").rstrip())

    def format(self, row: dict[str, Any]) -> Example:
        """The whole text is the completion. The one reference is the text."""
        text = text_of(row, "text")
        return Example(row["id"], (BOS,), text, (text,), divisible=True)

    def sample_example(self, example: Example) -> Example:
        """The first words of a validation text as a prompt, half of it at most: what does the model make of it?"""
        words = example.references[0].split()
        beginning = " ".join(words[: min(SAMPLE_WORDS, len(words) // 2)])[:SAMPLE_CHARACTERS]
        return Example(example.id, (BOS, Source(beginning)) if beginning else (BOS,), None, example.references)

    def metric(self) -> Any:
        """Perplexity and bits per character."""
        from tasks.metrics.language_model import LanguageModel

        return LanguageModel()

    def metric_inputs(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """Nats of each text beside its counts; what was sampled is not compared with anything."""
        counts = ("tokens", "characters", "unknown_tokens")
        return {
            "predictions": [prediction.scores["nll"] for prediction in predictions],
            "references": [{name: prediction.scores[name] for name in counts} for prediction in predictions],
        }

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The metric's figures; repetition and distinct-n of what was sampled: those few dozen are read, not measured."""
        from tasks.metrics.language_model import distinct_n, repetition

        samples = [prediction.text for prediction in predictions if prediction.text]
        variety = {
            "samples": len(samples),
            "repetition": repetition(samples),
            "distinct_1": distinct_n(samples, 1),
            "distinct_2": distinct_n(samples, 2),
        } if samples else {}  # fmt: skip
        return super().score(predictions) | variety

    def baseline(self, examples: Sequence[Example], train: Sequence[Example] | None = None) -> dict[str, Any]:
        """Bits per character of a character unigram model fitted on these very texts, which favours the baseline."""
        from tasks.metrics.language_model import unigram_bits_per_character

        texts = [example.references[0] for example in examples]
        return {"baseline": "character unigrams", "baseline_bits_per_character": unigram_bits_per_character(texts)}
