"""Text generation: ``<bos> text <eos>``, the loss on the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.base import BOS, Column, Example, HubDataset, Part, Prediction, Source, Task, text_of

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
    input_columns = (Column("text", "the text", ("content", "document", "sentence", "텍스트", "글", "본문")),)
    target_columns = ()
    # 20231101.ko has 647,897 articles and only a train split; --max_train_samples keeps a first run short.
    default_dataset = HubDataset(
        "wikimedia/wikipedia", "20231101.ko", "train", None, ("id", "url", "title", "text"), "cc-by-sa-3.0"
    )
    main_metric = "bits_per_character"
    metrics = {"bits_per_character": False, "perplexity": False}
    max_new_tokens = 64
    do_sample = True  # greedy decoding of open text falls into loops (Holtzman et al. 2020)

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """``<bos>`` and the beginning that the model is to continue, which may be empty."""
        return (BOS, text_of(row, "text")) if row.get("text") else (BOS,)

    def format(self, row: dict[str, Any]) -> Example:
        """The whole text is the completion. The one reference is the text."""
        text = text_of(row, "text")
        return Example(row["id"], (BOS,), text, (text,))

    def sample_example(self, example: Example) -> Example:
        """The first words of a validation text as a prompt, cut where they are too long: what does the model make of it?"""
        beginning = " ".join(example.references[0].split()[:SAMPLE_WORDS])[:SAMPLE_CHARACTERS]
        return Example(example.id, (BOS, Source(beginning)), None, example.references)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Perplexity and bits per character of the texts; repetition and distinct-n of what was sampled."""
        from tasks.metrics.language_model import LanguageModel, distinct_n, repetition

        metrics = LanguageModel().compute(
            predictions=[prediction.scores["nll"] for prediction in predictions],
            references=[
                {"tokens": prediction.scores["tokens"], "characters": prediction.scores["characters"]}
                for prediction in predictions
            ],
        )
        unknown = sum(prediction.scores["unknown_tokens"] for prediction in predictions)
        # A tokenizer that reads rare characters as <unk> has an easier text before it: compare only where this is 0.
        metrics["unknown_token_share"] = unknown / sum(prediction.scores["tokens"] for prediction in predictions)
        samples = [prediction.text for prediction in predictions if prediction.text]
        if samples:
            metrics |= {
                "samples": len(samples),
                "repetition": repetition(samples),
                "distinct_1": distinct_n(samples, 1),
                "distinct_2": distinct_n(samples, 2),
            }
        return metrics

    def baseline(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Bits per character of a character unigram model fitted on these very texts, which favours the baseline."""
        from tasks.metrics.language_model import unigram_bits_per_character

        texts = [example.references[0] for example in examples]
        return {"baseline": "character unigrams", "baseline_bits_per_character": unigram_bits_per_character(texts)}
