"""The variants of ``train``: this project's Trainer, and what a user would run instead."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.benchmark import Timer
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

from tasks.arguments import training as arguments
from tasks.benchmarking.memory import linear_shapes
from tasks.benchmarking.meter import Meter
from tasks.benchmarking.running import memory_figures, now
from tasks.benchmarking.variants import NOTEBOOK_LENGTH
from tasks.benchmarking.workspace import Workspace
from tasks.distributed import processes
from tasks.inference.forward import token_logprobs
from tasks.preparing.encoding import IGNORE
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer

#: Arguments of each Trainer that a job may set besides those of all.
SWITCHES = {
    "ours": ("tokens_per_batch", "padding_free", "labelled_head", "fused_gelu", "eager_on_cpu"),
    "group_by_length": (),
    "trl": ("max_length", "gradient_checkpointing"),
}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train with the job's method; returns the meter's figures."""
    set_seed(job["seed"])
    work = Workspace(job)
    model = work.model()
    if job["method"] == "floor":
        return _floor(model, job)
    evaluate = None
    if job["time_to_quality"]:
        evaluate = partial(completion_loss, model, work.rows("validation"), work.tokenizer.pad_token_id, job["bf16"])
    meter = Meter(job["warmup_steps"], job["max_seconds"], evaluate, job["eval_seconds"])
    set_seed(job["seed"])
    if job["method"] == "notebook":
        _notebook(work, model, meter)
    else:
        meter.train(_trainer(work, model))
    return meter.result()


def completion_loss(model: Any, rows: Dataset, pad_token_id: int, bf16: bool) -> float:
    """Nats per token of the completions of encoded rows, eos included; every token weighs the same."""
    pairs = []
    for ids, labels in zip(rows["input_ids"], rows["labels"]):
        start = next(i for i, label in enumerate(labels) if label != IGNORE)
        pairs.append((ids[:start], ids[start:]))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        logprobs = token_logprobs(model, pairs, pad_token_id, batch_size=64)
    return -math.fsum(value for row in logprobs for value in row) / sum(map(len, logprobs))


def _trainer(work: Workspace, model: Any) -> Trainer:
    """This project's Trainer as in scripts/run_<task>.py, transformers' own, or TRL's as its guide has it."""
    job, rows = work.job, work.rows("train")
    settings = {
        "output_dir": str(Path(job["folder"]) / "out"),
        "per_device_train_batch_size": job["rows_per_batch"],
        "num_train_epochs": job["num_train_epochs"],
        "max_steps": job["max_steps"] or -1,
        "learning_rate": job["learning_rate"],
        # A run that ends after so many seconds has no planned end to decay to.
        "lr_scheduler_type": "constant" if job["time_to_quality"] else "linear",
        "warmup_steps": 0,
        "bf16": job["bf16"],
        "seed": job["seed"],
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **{name: job[name] for name in SWITCHES[job["method"]] if name in job},
    }
    parts = {"model": model, "processing_class": work.tokenizer}
    if job["method"] == "ours":
        if not job["tokens_per_batch"]:
            settings["per_device_train_batch_size"] = 16  # the scripts' default
        return CompletionTrainer(
            args=arguments.TrainingArguments(**settings),
            train_dataset=rows,
            data_collator=CompletionCollator(work.tokenizer),
            run_config=None,  # nothing is saved
            evaluator=None,  # nothing is measured but the loss
            **parts,
        )
    if job["method"] == "group_by_length":
        args = TrainingArguments(**settings, train_sampling_strategy="group_by_length")
        return Trainer(args=args, train_dataset=rows, data_collator=DataCollatorForSeq2Seq(work.tokenizer), **parts)
    from trl import SFTConfig, SFTTrainer

    # Text in prompt and completion columns; all defaults but the longest sequence, which is ours.
    texts = [{"prompt": row.prompt_text, "completion": row.completion} for row in work.examples["train"]]
    return SFTTrainer(args=SFTConfig(**settings), train_dataset=Dataset.from_list(texts), **parts)


def _notebook(work: Workspace, model: Any, meter: Meter) -> None:
    """The loop of blog posts: one length for all rows, eos as padding, the loss on prompt and padding too."""
    job = work.job
    rows = work.rows("train")
    length = min(NOTEBOOK_LENGTH, job["max_length"])
    kept = {name: [row[:length] for row in rows[name]] for name in ("input_ids", "labels")}
    filled = {"input_ids": work.tokenizer.eos_token_id, "labels": IGNORE}  # the labels are for the meter alone
    columns = {name: [row + [filled[name]] * (length - len(row)) for row in kept[name]] for name in kept}
    columns["attention_mask"] = [[1] * len(row) + [0] * (length - len(row)) for row in kept["input_ids"]]
    data = Dataset.from_dict(columns).with_format("torch")
    loader = DataLoader(data, batch_size=job["rows_per_batch"], shuffle=True)
    last_step = min(job["max_steps"] or math.inf, math.ceil(job["num_train_epochs"] * len(loader)))
    device = processes().device
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"])
    meter.begin()
    while True:
        for batch in loader:
            meter.batch(batch)
            model.train()  # an evaluation switches it off
            ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=job["bf16"]):
                loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.loss = loss.detach()
            if meter.step() or meter.steps >= last_step:
                return


def _floor(model: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Seconds that the matrix products of a training step take: those of the layers a token, those of the head a label.

    Each weight matrix is multiplied three times, forward and twice backward (Kaplan et al. 2020, section 2.1). The head is
    needed where there is a label and nowhere else; an embedding is looked up. Attention and the optimizer are left out.
    """
    tokens = 2048  # with more, the logits of a large vocabulary no longer fit into small memories
    options = {"dtype": torch.bfloat16 if job["bf16"] else torch.float32, "device": processes().device}
    seconds: dict[tuple[int, int], float] = {}
    layers, head = Counter(linear_shapes(model)), tuple(model.get_output_embeddings().weight.shape[::-1])
    layers[head] -= 1
    for inputs, outputs in layers:
        x, weight, gradient = (
            torch.randn(*shape, **options) for shape in ((tokens, inputs), (inputs, outputs), (tokens, outputs))
        )
        seconds[inputs, outputs] = 0.0
        for left, right in ((x, weight), (gradient, weight.T), (x.T, gradient)):
            timer = Timer(
                "torch.matmul(left, right, out=product)",
                timer=now,
                globals={"torch": torch, "left": left, "right": right, "product": left @ right},
                num_threads=torch.get_num_threads(),
            )
            best = min(timer.blocked_autorange(min_run_time=job.get("floor_seconds", 0.3) / 3).times)
            seconds[inputs, outputs] += best / tokens
    a_token = sum(count * seconds[shape] for shape, count in layers.items())
    weights = sum(count * math.prod(shape) for shape, count in (layers + Counter([head])).items())
    return memory_figures() | {
        # As if no token had a label, and as if there were nothing but labels: a variant has both.
        "useful_tokens_per_second": 1 / a_token,
        "completion_tokens_per_second": 1 / seconds[head],
        "tera_operations_per_second": 6 * weights / (a_token + seconds[head]) / 1e12,
        "parameters": model.num_parameters(),
    }
