"""From a trained model and examples to predictions, for each output type of a task."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from tasks import distributed, get_task, task_of
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.base import Example, Prediction, Task
from tasks.errors import UserError, explained
from tasks.inference.exported import Exported, open_export
from tasks.inference.extraction import Allowed, Extractor
from tasks.inference.forward import choice_logprobs, class_logprobs, text_windows, token_logprobs
from tasks.inference.generation import generate
from tasks.machine import slow_half
from tasks.model.config import at_commit, load_config
from tasks.model.loading import open_encoder, open_model
from tasks.model.model_files import find_file
from tasks.model.speedups import avoid_cudnn_attention, fuse_gelu
from tasks.preparing.encoding import Encoder
from tasks.run_folder import TASK_FILE, RunConfig, is_export
from tasks.text import as_typed, nfc

logger = logging.getLogger(__name__)

#: In the scores of a prediction that ended because ``max_new_tokens`` were used up.
UNFINISHED = "unfinished"


@dataclass
class Predictor:
    """A model and all that its predictions depend on.

    ``settings`` come from ``generation_settings``. ``batch_size`` counts rows; without it a batch is as large as memory
    allows. Of several processes each predicts its share and gets the predictions of all, so all have to call.
    ``batch_flag`` is the script's flag for ``batch_size``. ``heard`` gets what was written so far of a single completion.
    """

    task: Task
    model: PreTrainedModel | Exported
    encoder: Encoder
    settings: dict[str, Any]
    batch_size: int | None = None
    seed: int = 42
    batch_flag: str = "--generation_batch_size"
    heard: Callable[[list[int]], None] | None = None

    def __post_init__(self) -> None:
        """Set up attention for batches of many shapes."""
        avoid_cudnn_attention()

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction for each example, in order. References are needed where texts are scored, and nowhere else.

        Raises:
            UserError: a prompt does not fit into the model, or a batch not into memory.
        """
        output_types = {"generate_until": self._write, "multiple_choice": self._choose, "loglikelihood": self._measure}
        return self._shared(output_types[self.task.output_type], examples)

    def answer(self, examples: Sequence[Example]) -> list[list[Prediction]]:
        """Each example's predictions, ``num_return_sequences`` of them where the task generates."""
        if self.task.output_type == "multiple_choice":
            return [[prediction] for prediction in self._shared(self._choose, examples)]
        return self._shared(self.complete, examples)

    def _shared(self, answer: Callable[..., list[Any]], examples: Sequence[Example]) -> list[Any]:
        """``answer(examples, numbers)`` of this process's share of the examples, gathered from all processes."""
        numbers = distributed.share([len(example.prompt_text) + len(example.completion or "") for example in examples])
        with explained("predicting", lambda: prediction_advice(self)):
            answers = answer([examples[i] for i in numbers], numbers)
        return distributed.gather(numbers, answers)

    def complete(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[Prediction]]:
        """``num_return_sequences`` completions of each example's prompt; sampling depends on the examples' ``numbers``.

        Each overlapping window of a long context gets completions of its own. Those with the highest mean log-probability of
        a token, eos included, are kept: a sum would favour the shortest.
        """
        windows = self.encoder.prompts(examples)
        places = [(row, window) for row, prompts in enumerate(windows) for window in range(len(prompts))]
        prompts = [windows[row][window] for row, window in places]
        names = [(numbers[row], window) for row, window in places]

        def allowed(batch: Sequence[int]) -> Allowed:
            # The whole context for every window: an answer may continue past the end of its window.
            return self.extractor.allowed([examples[places[i][0]].source_text for i in batch])

        constraint = allowed if self.settings["extractive"] else None
        tokenizer = self.encoder.tokenizer
        written = generate(
            self.model, tokenizer, prompts, self.settings, self.batch_size, self.seed, constraint, names, self.heard
        )
        completed = [(row, prompt, ids) for (row, _), prompt, each in zip(places, prompts, written) for ids in each]
        rivals = [(prompt, [*ids, tokenizer.eos_token_id]) for row, prompt, ids in completed if len(windows[row]) > 1]
        logprobs = iter(self._logprobs(rivals))
        candidates: list[list[tuple[list[int], list[int], dict[str, Any]]]] = [[] for _ in examples]
        for row, prompt, ids in completed:
            scores = {}
            if len(windows[row]) > 1:
                values = next(logprobs)
                scores = {"mean_logprob": sum(values) / len(values), "windows": len(windows[row])}
            candidates[row].append((prompt, ids, scores))
        return [self._best(*each) for each in zip(examples, candidates)]

    def _best(self, example: Example, candidates: list[tuple[list[int], list[int], dict[str, Any]]]) -> list[Prediction]:
        """Of the candidates (prompt, completion, scores) those with the highest mean log-probability, else the first."""
        candidates = sorted(candidates, key=lambda candidate: -candidate[2].get("mean_logprob", 0.0))
        predictions = []
        for prompt, ids, scores in candidates[: self.settings.get("num_return_sequences", 1)]:
            extractive = self.settings["extractive"]
            text = self.extractor.answer(example.source_text, ids) if extractive else self.text(prompt, ids)
            if len(ids) >= self.settings["max_new_tokens"] and self.task.output_type == "generate_until":
                scores[UNFINISHED] = True
            predictions.append(Prediction(example.id, example.prompt_text, text, example.references, scores))
        return predictions

    def _logprobs(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        return token_logprobs(self.model, pairs, self.encoder.tokenizer.pad_token_id, self.batch_size)

    @functools.cached_property
    def extractor(self) -> Extractor:
        """The index of the tokenizer's vocabulary, built once."""
        return Extractor(self.encoder.tokenizer)

    def text(self, prompt: list[int], ids: list[int]) -> str:
        """The text of generated ids as people type it.

        A character whose bytes are not all there, where a byte-level tokenizer ran out of room, is left out. A text that
        continues its prompt keeps the white space at the join, where it has some.
        """

        def decode(ids: Sequence[int]) -> str:
            return self.encoder.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

        # Decoders drop the space before the first token of a text.
        before = prompt if self.task.output_type == "loglikelihood" else []
        text = decode([*before, *ids])[len(decode(before)) :].rstrip("\ufffd")
        return as_typed(text.rstrip() if before else text.strip())

    def _write(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        written = [row[0] for row in self.complete(examples, numbers)]
        if self.task.conversational:
            prompts = [windows[0] for windows in self.encoder.prompts(examples)]
            losses = self._losses(list(zip(prompts, self.encoder.conversations.answers(examples))))
            for example, prediction, values in zip(examples, written, losses):
                characters = len(nfc(example.completion or ""))
                prediction.scores.update(nll=-math.fsum(values), tokens=len(values), characters=characters)
        return written

    def _losses(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """log P of every token of each (context, text), through windows where both together are too long."""
        windows = [text_windows(context, text, self.encoder.max_length) for context, text in pairs]
        values: list[list[float]] = [[] for _ in pairs]
        rows = [i for i, parts in enumerate(windows) for _ in parts]
        for i, logprobs in zip(rows, self._logprobs([part for parts in windows for part in parts])):
            values[i] += logprobs
        return values

    def _choose(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        """The label whose word has the highest summed log-probability, as lm-evaluation-harness's ``acc``; with a
        classification head the most probable class.
        """
        labels = list(self.task.label_words)
        prompts = [windows[0] for windows in self.encoder.prompts(examples)]
        pad_token_id = self.encoder.tokenizer.pad_token_id
        if self.task.head:
            logprobs = class_logprobs(self.model, prompts, pad_token_id, self.batch_size)
        else:
            words = self.encoder.label_ids(self.task)
            logprobs = choice_logprobs(self.model, prompts, words, pad_token_id, self.batch_size)
        predictions = []
        for example, row in zip(examples, logprobs):
            scores = dict(zip(labels, row))
            best = max(scores, key=scores.__getitem__)
            predictions.append(Prediction(example.id, example.prompt_text, best, example.references, scores))
        return predictions

    def _measure(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[Prediction]:
        """The loss of each text (nats, tokens, characters), and for the first ``num_samples`` texts a sample."""
        tokenizer = self.encoder.tokenizer
        texts = [example.references[0] for example in examples]
        ids = self.encoder.tokenize(texts)[0]
        values = self._losses([([tokenizer.bos_token_id], [*row, tokenizer.eos_token_id]) for row in ids])
        sampled = [i for i, number in enumerate(numbers) if number < self.settings["num_samples"]]
        beginnings = [self.task.sample_example(examples[i]) for i in sampled]
        samples = dict(zip(sampled, self._write(beginnings, [numbers[i] for i in sampled])))
        predictions = []
        for i, example in enumerate(examples):
            scores = {
                "nll": -math.fsum(values[i]),
                "tokens": len(values[i]),
                "characters": len(nfc(texts[i])),
                "unknown_tokens": ids[i].count(tokenizer.unk_token_id),
            }
            prompt, text = (samples[i].prompt, samples[i].text) if i in samples else (example.prompt_text, None)
            predictions.append(Prediction(example.id, prompt, text, example.references, scores))
        return predictions


def trained_task(model_args: ModelArguments, task_name: str | None = None) -> tuple[Task, RunConfig | None]:
    """The task of a folder or Hub model, ``task_name`` or that of its task.json, and this where it is the task's own.

    Raises:
        UserError: it is no model, names no task, or was made for another version of its task's prompt.
    """
    load_config(model_args)  # refuses what is not a model, before anything else
    path = find_file(model_args.model, TASK_FILE, model_args.model_revision)
    run = RunConfig.load(path.parent) if path else None
    if run and len(run.parts) > 1:
        names = [part.task for part in run.parts]
        if task_name is None:
            raise UserError(f"{model_args.model}: a model for {', '.join(names)}; say which task with --task {names[0]}")
        run = next((part for part in run.parts if part.task == task_name), None)
    if run is None and task_name is None:
        raise UserError(f"{model_args.model}: no task.json there, so its task is not known; name it with --task")
    if run and task_name not in (None, run.task):
        run = None  # its lengths and settings belong to the other task
    task = task_of(run) if run else get_task(task_name)
    if task.learns_labels and not task.label_words:
        raise UserError(
            f"{model_args.model}: no labels are known, since {task.name} takes them from the training rows; name the folder "
            f"of a finished scripts/run_{task.name}.py"
        )
    if run and run.task_version != task.version:
        raise UserError(
            f"{model_args.model}: made for version {run.task_version} of the {task.name} prompt, and this is version "
            f"{task.version}; use the release of this project that made it, or train it again"
        )
    return task, run


def load_predictor(
    model_args: ModelArguments,
    generation_args: GenerationArguments,
    *,
    task_name: str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    seed: int = 42,
    num_return_sequences: int = 1,
    chosen: bool = True,
) -> Predictor:
    """The Predictor of a folder or Hub model, with the settings of its task.json, on the best device of this process.

    ``task_name`` replaces the task of task.json; a model without one needs it, and gets untrained separators. A slow
    ``--dtype`` is told where the user has ``chosen`` it.

    Raises:
        UserError: as ``trained_task``; the model cannot be loaded; several texts for one input would all be the same.
    """
    device = distributed.processes().device
    model_args = at_commit(model_args)
    task, run = trained_task(model_args, task_name)
    if chosen and (slow := slow_half("--dtype", model_args.dtype, device)):
        logger.warning(slow)
    length = max_length or (run.max_length if run else None)
    measured_with, copied = run.generation if run else None, is_export(model_args.model)
    if copied and run and run.generation.get("extractive"):
        logger.warning("a copy for CTranslate2 cannot keep answers to the context, as its run did: it answers freely")
        measured_with = run.generation | {"extractive": False}
    encoder = open_encoder(task, model_args, generation_args, length, measured_with)
    settings = several(encoder.settings, num_return_sequences)
    if copied:
        model = open_export(model_args, encoder, seed)
    else:
        model = open_model(task, model_args, encoder).to(device)
        fuse_gelu(model)  # as in training, so that a run and its evaluation agree
    return Predictor(task, model, encoder, settings, batch_size, seed, batch_flag="--batch_size")


def several(settings: dict[str, Any], count: int) -> dict[str, Any]:
    """``settings`` for ``count`` texts for each input. Raises UserError where these would all be the same."""
    if count > 1 and not settings["do_sample"] and settings["num_beams"] < count:
        raise UserError("several texts for one input differ only when sampled or by beams; add --do_sample")
    return settings | {"num_return_sequences": count}


def prediction_advice(predictor: Predictor) -> list[str]:
    """Flags that make predictions fit."""
    settings = predictor.settings
    rows = 8 if predictor.batch_size is None else predictor.batch_size // 2  # by default a batch fills the memory
    halves = {predictor.batch_flag: rows}
    if predictor.task.output_type != "multiple_choice":
        halves |= {f"--{name}": settings.get(name, 1) // 2 for name in ("num_beams", "num_return_sequences")}
        halves["--max_new_tokens"] = max(1, settings["max_new_tokens"] // 2)
    halves["--max_length"] = max(1, predictor.encoder.max_length // 2)
    # A run trains in the same type, and needs float32 for it.
    last = "--dtype bfloat16" if predictor.batch_flag == "--batch_size" else "--no_do_predict --no_do_eval"
    return [*(f"{flag} {half}" for flag, half in halves.items() if half), last]
