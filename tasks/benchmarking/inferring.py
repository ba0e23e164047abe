"""The variants of ``infer``: this project's Predictor, and transformers' generate in the ways that users call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import set_seed

from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.base import Example
from tasks.benchmarking.machine import device, memory_figures, synchronize
from tasks.benchmarking.workspace import Workspace
from tasks.inference.predicting import Predictor
from tasks.inference.scoring import token_logprobs
from tasks.model.opening import generation_config

#: Rows that ours and generate row by row are compared on.
CHECKED = 8


class Ways:
    """The ways to answer, on one model that is loaded once."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.work = Workspace.open(job)
        self.tokenizer, self.encoder, task = self.work.tokenizer, self.work.encoder, self.work.task
        self.model = self.work.model().eval().to(device())
        settings = generation_settings(task, GenerationArguments(max_new_tokens=job["max_new_tokens"]))
        self.config = generation_config(settings, self.tokenizer)
        self.model.generation_config = self.config
        self.predictor = Predictor(task, self.model, self.encoder, settings, job.get("rows_a_batch"))
        self.words = self.encoder.tokenize(list(task.label_words.values()))[0]

    def ours(self, examples: Sequence[Example]) -> list[str | None]:
        """All rows by the Predictor."""
        return [prediction.text for prediction in self.predictor.predict(examples)]

    def continuous(self, examples: Sequence[Example]) -> list[str | None]:
        """All rows by transformers' continuous batching."""
        outputs = self.model.generate_batch(self._prompts(examples), generation_config=self.config)
        answers = {tuple(output.prompt_ids): output.generated_tokens for output in outputs.values()}
        if len(outputs) != len(examples) or any(output.error for output in outputs.values()):
            errors = {str(output.error) for output in outputs.values() if output.error}
            raise RuntimeError(f"generate_batch answered {len(outputs)} of {len(examples)} rows {' '.join(errors)}")
        return [self._text(answers[tuple(prompt)]) for prompt in self._prompts(examples)]

    def generate(self, examples: Sequence[Example]) -> list[str | None]:
        """One batch by ``generate``, left-padded."""
        prompts = self._prompts(examples)
        padding: dict[str, Any] = {"padding": True}
        if self.job.get("padded"):
            room = self.encoder.max_length - self.encoder.max_new_tokens
            padding = {"padding": "max_length", "max_length": room}
        batch = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt", **padding)
        batch = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        output = self.model.generate(**batch, generation_config=self.config)
        return [self._text(ids) for ids in output[:, batch["input_ids"].shape[1] :].tolist()]

    def _prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        return [windows[0] for windows in self.encoder.prompts(examples)]

    def _text(self, ids: Sequence[int]) -> str | None:
        """What was written; where a label is asked for, the one whose word it is, if it is one."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        labels = {word: label for label, word in self.work.task.label_words.items()}
        return labels.get(text) if labels else text

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """All rows at once for ways that batch by themselves; else batches, of like length where they hold several rows."""
        size = self.job.get("batch_size", len(examples))
        if 1 < size < len(examples):
            lengths = [len(prompt) for prompt in self._prompts(examples)]
            examples = [examples[i] for i in sorted(range(len(examples)), key=lambda i: -lengths[i])]
        for start in range(0, len(examples), size):
            yield examples[start : start + size]

    def labels_one_by_one(self, examples: Sequence[Example]) -> list[str]:
        """The likeliest label of each row, from what ``generate`` gives for it alone; by hand where words are longer."""
        labels = list(self.work.task.label_words)
        answers = []
        for prompt in self._prompts(examples):
            if max(map(len, self.words)) == 1:
                ids = torch.tensor([prompt], device=self.model.device)
                output = self.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self.config,
                    max_new_tokens=1,
                    output_logits=True,
                    return_dict_in_generate=True,
                )
                scores = [output.logits[0][0, word[0]].item() for word in self.words]
            else:
                pairs = [(prompt, word) for word in self.words]
                scores = [sum(row) for row in token_logprobs(self.model, pairs, self.tokenizer.pad_token_id, 1)]
            answers.append(labels[max(range(len(labels)), key=scores.__getitem__)])
        return answers

    def one_by_one(self, examples: Sequence[Example]) -> list[str | None]:
        """What ours is checked against."""
        if self.words:
            return self.labels_one_by_one(examples)
        return [text for example in examples for text in self.generate([example])]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Answer the validation rows as the job's variant does: rows/second, after a batch that is not counted."""
    set_seed(job["seed"])
    ways = Ways(job)
    examples = ways.work.examples["validation"]
    with torch.autocast(ways.model.device.type, torch.bfloat16, enabled=job["bf16"]):
        if job["way"] == "check":
            return _check(ways, examples[:CHECKED])
        answer: Callable[[Sequence[Example]], list[str | None]] = getattr(ways, job["way"])
        answer(next(ways.batches(examples))[:16])
        done = 0
        synchronize()
        started = time.perf_counter()
        for batch in ways.batches(examples):
            answer(batch)
            done += len(batch)
            # Sorted batches are done to the end: the first ones hold the longest rows.
            if job["max_seconds"] and len(batch) == 1 and time.perf_counter() - started >= job["max_seconds"]:
                break
        synchronize()
        seconds = time.perf_counter() - started
    return memory_figures() | {"rows_per_second": done / seconds, "rows": done, "seconds": seconds}


def _check(ways: Ways, examples: Sequence[Example]) -> dict[str, Any]:
    """On how many rows ours says what ``generate`` says row by row."""
    ours, theirs = ways.ours(examples), ways.one_by_one(examples)
    return {"rows": len(examples), "equal": sum(mine == other for mine, other in zip(ours, theirs))}
