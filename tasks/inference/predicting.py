"""From examples to predictions: what each output type of a task means."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks import distributed
from tasks.base import Example, Prediction, Task
from tasks.errors import UserError
from tasks.inference.extraction import Allowed, Extractor
from tasks.inference.generation import generate
from tasks.inference.scoring import choice_logprobs, text_windows, token_logprobs
from tasks.out_of_memory import explained, prediction_advice

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tasks.training.arguments import GenerationArguments
    from tasks.training.encoding import Encoder


#: One beam: on short summaries and answers more beams cost their multiple in time and change little. top_k and top_p are
#: what the field samples with. A look at samples needs dozens, not thousands.
DECODING_DEFAULTS = {
    "num_beams": 1,
    "top_k": 50,
    "top_p": 0.95,
    "temperature": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_samples": 64,
    "extractive": False,
}


def generation_settings(
    task: Task, arguments: GenerationArguments, measured_with: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The decoding settings: those given, else those that the model was measured with, else the task's defaults.

    Raises:
        UserError: answers are to stand in their context, and the task has none, or the decoder cannot do that.
    """
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    defaults = DECODING_DEFAULTS | {"max_new_tokens": task.max_new_tokens, "do_sample": task.do_sample}
    measured = {name: value for name, value in (measured_with or {}).items() if name in defaults}
    for name, value in measured.items():
        kinds = (float, int) if isinstance(defaults[name], float) else (type(defaults[name]),)
        if type(value) not in kinds:
            raise UserError(f"task.json: the decoding setting {name} is {value!r:.40}; train again, or mend the file")
    type(arguments)(**measured)  # sees whether a decoder takes these values
    settings = defaults | measured | given
    if settings["extractive"] and not task.extractive:
        raise UserError(f"--extractive: {task.name} does not take its answers from a text; leave it out")
    if settings["extractive"] and (settings["num_beams"] > 1 or settings["do_sample"] or settings["no_repeat_ngram_size"]):
        raise UserError(
            "--extractive takes the best token of those that go on in the context, which --num_beams, --do_sample and "
            "--no_repeat_ngram_size do not go with; leave these out (--num_beams 1), or give --extractive false"
        )
    return settings


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
