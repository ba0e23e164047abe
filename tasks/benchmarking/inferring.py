"""The variants of ``infer``: this project's Predictor, and transformers' generate as users call it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import set_seed

from tasks.base import Example
from tasks.benchmarking.running import now, row_figures
from tasks.benchmarking.workspace import Workspace
from tasks.distributed import processes
from tasks.inference.forward import batches_by_length
from tasks.inference.predicting import Predictor


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Answer the validation rows with the job's method: rows/second, after a batch that is not counted."""
    set_seed(job["seed"])
    work = Workspace(job)
    model = work.model().eval().to(processes().device)
    examples = work.examples["validation"]
    if job["method"] == "ours":
        predictor = Predictor(work.task, model, work.encoder, work.encoder.settings)
        answer, batches = predictor.predict, [examples]
    else:

        def answer(batch: Sequence[Example]) -> list[str]:
            return _generate(work, model, batch, job.get("padded", False))

        batches = _batches(work, examples, job["batch_size"])
    with torch.autocast(model.device.type, torch.bfloat16, enabled=job["bf16"]):
        answer(batches[0][:16])
        done, started = 0, now()
        for batch in batches:
            answer(batch)
            done += len(batch)
            # Sorted batches are all run: the first ones hold the longest rows.
            if job["max_seconds"] and len(batch) == 1 and now() - started >= job["max_seconds"]:
                break
        return row_figures(done, now() - started)


def _generate(work: Workspace, model: Any, examples: Sequence[Example], padded: bool) -> list[str]:
    """The texts that ``generate`` writes for one left-padded batch; ``padded`` to the longest prompt that is allowed."""
    room = work.encoder.max_length - work.encoder.max_new_tokens
    padding = {"padding": "max_length", "max_length": room} if padded else {"padding": True}
    prompts = {"input_ids": [windows[0] for windows in work.encoder.prompts(examples)]}
    batch = work.tokenizer.pad(prompts, padding_side="left", return_tensors="pt", **padding).to(model.device)
    output = model.generate(batch.input_ids, attention_mask=batch.attention_mask)
    return work.tokenizer.batch_decode(output[:, batch.input_ids.shape[1] :], skip_special_tokens=True)


def _batches(work: Workspace, examples: list[Example], size: int) -> list[list[Example]]:
    """Batches of ``size`` rows, longest prompts first; single rows keep their order."""
    if size == 1:
        return [[example] for example in examples]
    lengths = [len(windows[0]) for windows in work.encoder.prompts(examples)]
    return [[examples[i] for i in batch] for batch in batches_by_length(lengths, size, sys.maxsize)]
