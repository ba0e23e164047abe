"""The variants of ``infer``: this project's Predictor, and transformers' generate as users call it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import set_seed

from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.base import Example
from tasks.benchmarking.running import now, row_figures
from tasks.benchmarking.workspace import Workspace
from tasks.distributed import processes
from tasks.inference.batching import batches_by_length
from tasks.inference.predicting import Predictor
from tasks.model.opening import generation_config

#: Rows that ours is compared on with one row at a time.
CHECKED = 8


class Inference:
    """The methods to answer, all on one model that is loaded once."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.work = Workspace(job)
        self.tokenizer, self.encoder, self.task = self.work.tokenizer, self.work.encoder, self.work.task
        self.model = self.work.model().eval().to(processes().device)
        settings = generation_settings(self.task, GenerationArguments(max_new_tokens=job["max_new_tokens"]))
        self.config = generation_config(settings, self.tokenizer)
        self.model.generation_config = self.config
        self.predictor = Predictor(self.task, self.model, self.encoder, settings, job.get("rows_a_batch"))

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
        padding: dict[str, Any] = {"padding": True}
        if self.job.get("padded"):
            room = self.encoder.max_length - self.encoder.max_new_tokens
            padding = {"padding": "max_length", "max_length": room}
        prompts = {"input_ids": self._prompts(examples)}
        batch = self.tokenizer.pad(prompts, padding_side="left", return_tensors="pt", **padding).to(self.model.device)
        output = self.model.generate(batch.input_ids, attention_mask=batch.attention_mask, generation_config=self.config)
        return [self._text(ids) for ids in output[:, batch.input_ids.shape[1] :].tolist()]

    def _prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        return [windows[0] for windows in self.encoder.prompts(examples)]

    def _text(self, ids: Sequence[int]) -> str | None:
        """The generated text; where a label is asked for, the label with this word, None where there is none."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        labels = {word: label for label, word in self.task.label_words.items()}
        return labels.get(text) if labels else text

    def batches(self, examples: list[Example]) -> list[list[Example]]:
        """One batch for a method that makes batches by itself; else batches of ``batch_size``, longest prompts first."""
        size = self.job.get("batch_size")
        if size is None:
            return [examples]
        if size == 1:
            return [[example] for example in examples]
        lengths = [len(prompt) for prompt in self._prompts(examples)]
        return [[examples[i] for i in batch] for batch in batches_by_length(lengths, size, sys.maxsize)]

    @torch.inference_mode()
    def one_by_one(self, example: Example) -> str | None:
        """The answer to one row by itself: what ``generate`` writes, or the likeliest label by a plain forward pass each."""
        if not self.task.label_words:
            return self.generate([example])[0]
        (prompt,) = self._prompts([example])
        scores = {}
        for label, word in zip(self.task.label_words, self.encoder.tokenize(list(self.task.label_words.values()))[0]):
            logits = self.model(torch.tensor([[*prompt, *word]], device=self.model.device)).logits[0].float()
            logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
            scores[label] = logprobs[range(len(word)), word].sum().item()
        return max(scores, key=scores.__getitem__)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Answer the validation rows with the job's method: rows/second, after a batch that is not counted."""
    set_seed(job["seed"])
    inference = Inference(job)
    examples = inference.work.examples["validation"]
    with torch.autocast(inference.model.device.type, torch.bfloat16, enabled=job["bf16"]):
        if job["method"] == "check":
            checked = examples[:CHECKED]
            pairs = zip(inference.ours(checked), map(inference.one_by_one, checked))
            return {"rows": len(checked), "equal": sum(ours == alone for ours, alone in pairs)}
        answer = getattr(inference, job["method"])
        batches = inference.batches(examples)
        answer(batches[0][:16])
        done, started = 0, now()
        for batch in batches:
            answer(batch)
            done += len(batch)
            # Sorted batches are all run: the first ones hold the longest rows.
            if job["max_seconds"] and len(batch) == 1 and now() - started >= job["max_seconds"]:
                break
        return row_figures(done, now() - started)
