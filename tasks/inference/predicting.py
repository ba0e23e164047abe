"""From examples to predictions: what each output type of a task means."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks import distributed
from tasks.base import Example, Prediction, Task
from tasks.errors import explained
from tasks.inference.extraction import Allowed, Extractor
from tasks.inference.generation import generate
from tasks.inference.scoring import choice_logprobs, text_windows, token_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.preparing.encoding import Encoder


@dataclass
class Predictor:
    """A model that is ready to answer the examples of a task.

    ``settings`` are the fields of GenerationArguments, completed by ``generation_settings``. ``batch_size`` counts rows;
    without it a batch is as large as memory allows. Of several processes each answers its share of the rows, and all of
    them get all answers: every process has to ask. ``batch_flag`` is what the script calls ``batch_size``.
    """

    task: Task
    model: PreTrainedModel
    encoder: Encoder
    settings: dict[str, Any]
    batch_size: int | None = None
    seed: int = 42
    batch_flag: str = "--generation_batch_size"

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in their order. Needs no references but for texts: ``task.score`` compares.

        Raises:
            UserError: a prompt does not fit into the model, or a batch not into memory.
        """
        output_types = {"generate_until": self._write, "multiple_choice": self._choose, "loglikelihood": self._measure}
        return self._shared(output_types[self.task.output_type], examples)

    def answer(self, examples: Sequence[Example]) -> list[list[Prediction]]:
        """What a user asks for: each row's predictions, several where ``num_return_sequences`` asks for them."""
        if self.task.output_type == "multiple_choice":
            return [[prediction] for prediction in self._shared(self._choose, examples)]
        return self._shared(self.complete, examples)

    def _shared(self, answer: Callable[..., list[Any]], examples: Sequence[Example]) -> list[Any]:
        """What ``answer(examples, numbers)`` gives for each example, a share of them done by each process."""
        numbers = distributed.share([len(example.prompt_text) + len(example.completion or "") for example in examples])
        with explained("predicting", lambda: prediction_advice(self)):
            answers = answer([examples[i] for i in numbers], numbers)
        return distributed.gather(numbers, answers)

    def complete(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[Prediction]]:
        """``num_return_sequences`` completions of each example's prompt. What is sampled follows the examples' numbers.

        Where a long context was read through windows, each window has an answer; the one whose tokens are most probable on
        average (eos included) is taken. The average, because a sum would favour the shortest.
        """
        windows = self.encoder.prompts(examples)
        prompts = [prompt for row in windows for prompt in row]
        constraint = None
        if self.settings["extractive"]:
            # The whole context for every window: an answer may go on behind the end of what a window shows.
            sources = [example.source_text for example, row in zip(examples, windows) for _ in row]

            def constraint(batch: Sequence[int]) -> Allowed:
                return self.extractor.allowed([sources[i] for i in batch])

        names = [(number, window) for number, row in zip(numbers, windows) for window in range(len(row))]
        model, tokenizer = self.model, self.encoder.tokenizer
        written = iter(generate(model, tokenizer, prompts, self.settings, self.batch_size, self.seed, constraint, names))
        # For each example, (prompt, completion) of every window.
        candidates = [[(prompt, ids) for prompt in row for ids in next(written)] for row in windows]
        scores: list[list[dict[str, Any]]] = [[{} for _ in row] for row in candidates]
        several = [i for i, row in enumerate(windows) if len(row) > 1]
        logprobs = iter(self._mean_logprobs([pair for i in several for pair in candidates[i]]))
        for i in several:
            means = [next(logprobs) for _ in candidates[i]]
            best = sorted(range(len(means)), key=lambda k: -means[k])[: self.settings.get("num_return_sequences", 1)]
            candidates[i] = [candidates[i][k] for k in best]
            scores[i] = [{"mean_logprob": means[k], "windows": len(windows[i])} for k in best]
        return [
            [
                Prediction(example.id, example.prompt_text, self._text(example, ids), example.references, score)
                for (_, ids), score in zip(row, row_scores)
            ]
            for example, row, row_scores in zip(examples, candidates, scores)
        ]

    def _mean_logprobs(self, candidates: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        eos = self.encoder.tokenizer.eos_token_id
        rows = self._logprobs([(prompt, [*completion, eos]) for prompt, completion in candidates])
        return [sum(row) / len(row) for row in rows]

    def _logprobs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        return token_logprobs(self.model, pairs, self.encoder.tokenizer.pad_token_id, self.batch_size)

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The tokenizer's vocabulary, made ready once to find what may follow in a context."""
        return Extractor(self.encoder.tokenizer)

    def _text(self, example: Example, ids: Sequence[int]) -> str:
        if self.settings["extractive"]:
            return self.extractor.answer(example.source_text, ids)
        return self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids. White space at its ends belongs to the join with the prompt and is dropped."""
        return self.encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def _write(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        return [row[0] for row in self.complete(examples, numbers)]

    def _choose(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        """The label whose word has the highest sum of log-probabilities, as lm-evaluation-harness's ``acc``."""
        labels = list(self.task.label_words)
        words = self.encoder.tokenize(list(self.task.label_words.values()))[0]
        prompts = [windows[0] for windows in self.encoder.prompts(examples)]
        logprobs = choice_logprobs(self.model, prompts, words, self.encoder.tokenizer.pad_token_id, self.batch_size)
        predictions = []
        for example, row in zip(examples, logprobs):
            scores = dict(zip(labels, row))
            best = max(scores, key=scores.__getitem__)
            predictions.append(Prediction(example.id, example.prompt_text, best, example.references, scores))
        return predictions

    def _measure(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        """How probable each text is (nats, tokens, characters), and what the model makes of the first ones' beginnings."""
        tokenizer = self.encoder.tokenizer
        texts = [example.references[0] for example in examples]
        ids = self.encoder.tokenize(texts)[0]
        windows = [
            text_windows([tokenizer.bos_token_id], [*row, tokenizer.eos_token_id], self.encoder.max_length) for row in ids
        ]
        logprobs = iter(self._logprobs([pair for row in windows for pair in row]))
        sampled = [i for i, number in enumerate(numbers) if number < self.settings["num_samples"]]
        beginnings = [self.task.sample_example(examples[i]) for i in sampled]
        samples = dict(zip(sampled, self._write(beginnings, [numbers[i] for i in sampled])))
        predictions = []
        for i, (example, row) in enumerate(zip(examples, windows)):
            values = [value for _ in row for value in next(logprobs)]
            scores = {
                "nll": -math.fsum(values),
                "tokens": len(values),
                "characters": len(texts[i]),
                "unknown_tokens": ids[i].count(tokenizer.unk_token_id),
            }
            prompt, text = (samples[i].prompt, samples[i].text) if i in samples else (example.prompt_text, None)
            predictions.append(Prediction(example.id, prompt, text, example.references, scores))
        return predictions


def prediction_advice(predictor: Predictor) -> list[str]:
    """Flags that make predictions fit."""
    beams, settings = predictor.settings["num_beams"], predictor.settings
    rows = 8 if predictor.batch_size is None else predictor.batch_size // 2  # without a number it fills what should be there
    advice = [f"{predictor.batch_flag} {rows}"] if rows else []
    if predictor.task.output_type != "multiple_choice":
        if beams > 1:
            advice.append(f"--num_beams {beams // 2}")
        if settings.get("num_return_sequences", 1) > 1:
            advice.append(f"--num_return_sequences {settings['num_return_sequences'] // 2}")
        advice.append(f"--max_new_tokens {max(1, settings['max_new_tokens'] // 2)}")
    advice.append(f"--max_length {max(1, predictor.encoder.max_length // 2)}")
    # A run trains in the same type, and needs float32 for it.
    return [*advice, "--dtype bfloat16" if predictor.batch_flag == "--batch_size" else "--no_do_predict --no_do_eval"]
