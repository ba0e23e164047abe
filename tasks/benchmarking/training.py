"""The variants of ``train``: this project's Trainer, and what a user would run instead."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

from tasks.arguments import training as arguments
from tasks.benchmarking.machine import device
from tasks.benchmarking.meter import Meter
from tasks.benchmarking.quality import completion_loss
from tasks.benchmarking.variants import NOTEBOOK_LENGTH
from tasks.benchmarking.workspace import Workspace
from tasks.preparing.encoding import IGNORE, encode
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train as the job's variant does; returns the meter's figures."""
    set_seed(job["seed"])
    work = Workspace.open(job)
    model = work.model() if job["way"] == "ours" else work.plain_model()
    evaluate = None
    if job["time_to_quality"]:
        rows = _rows(work, "validation")

        def evaluate() -> float:
            return completion_loss(model, rows, work.tokenizer.pad_token_id, job["bf16"])

    meter = Meter(job["warmup_steps"], job["max_seconds"], evaluate, job["eval_seconds"])
    set_seed(job["seed"])
    with tempfile.TemporaryDirectory() as folder:
        WAYS[job["way"]](work, model, meter, folder)
    return meter.result()


def _rows(work: Workspace, split: str) -> Dataset:
    return encode(work.encoder, work.examples[split], split, defaultdict(dict))


def _settings(job: dict[str, Any], folder: str) -> dict[str, Any]:
    """What all Trainers are told."""
    return {
        "output_dir": str(Path(folder) / "out"),
        "per_device_train_batch_size": job["rows_per_batch"],
        "num_train_epochs": job["num_train_epochs"],
        "max_steps": job["max_steps"] or -1,
        "learning_rate": job["learning_rate"],
        # A run that a clock ends has no planned end to decay to.
        "lr_scheduler_type": "constant" if job["time_to_quality"] else "linear",
        "warmup_steps": 0,
        "bf16": job["bf16"],
        "seed": job["seed"],
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": device().type == "cpu",
        "dataloader_pin_memory": device().type == "cuda",
    }


def _ours(work: Workspace, model: Any, meter: Meter, folder: str) -> None:
    """The Trainer of scripts/run_<task>.py, its engine by the flags of the variant."""
    job = work.job
    settings = _settings(job, folder)
    if not job["tokens_per_batch"]:
        settings["per_device_train_batch_size"] = 16  # the scripts' default
    args = arguments.TrainingArguments(
        **settings,
        tokens_per_batch=job["tokens_per_batch"],
        padding_free=job.get("padding_free"),
        labelled_head=job.get("labelled_head", True),
        fused_gelu=job.get("fused_gelu", True),
        eager_on_cpu=job.get("eager_on_cpu", True),
    )
    trainer = CompletionTrainer(
        model=model,
        args=args,
        train_dataset=_rows(work, "train"),
        data_collator=CompletionCollator(work.tokenizer),
        processing_class=work.tokenizer,
        run_config=None,  # nothing is saved
        evaluator=None,  # nothing is measured but the loss
    )
    meter.train(trainer)


def _group_by_length(work: Workspace, model: Any, meter: Meter, folder: str) -> None:
    """transformers' own Trainer on the same rows, rows of like length together."""
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**_settings(work.job, folder), train_sampling_strategy="group_by_length"),
        train_dataset=_rows(work, "train"),
        data_collator=DataCollatorForSeq2Seq(work.tokenizer),
        processing_class=work.tokenizer,
    )
    meter.train(trainer)


def _trl(work: Workspace, model: Any, meter: Meter, folder: str) -> None:
    """TRL as its guide has it: text in prompt and completion columns, everything else by its defaults.

    Its longest sequence is ours: 1,024, its own default too, where the model reads as much.
    """
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": row.prompt_text, "completion": row.completion} for row in work.examples["train"]]
    settings = _settings(work.job, folder) | {"max_length": work.job["max_length"]}
    if "gradient_checkpointing" in work.job:
        settings["gradient_checkpointing"] = work.job["gradient_checkpointing"]
    trainer = SFTTrainer(
        model=model, args=SFTConfig(**settings), train_dataset=Dataset.from_list(rows), processing_class=work.tokenizer
    )
    meter.train(trainer)


def _notebook(work: Workspace, model: Any, meter: Meter, folder: str) -> None:
    """The loop of blog posts: one length for all rows, eos as padding, the loss on prompt and padding too."""
    job = work.job
    rows = _rows(work, "train")
    eos = work.tokenizer.eos_token_id
    length = min(NOTEBOOK_LENGTH, job["max_length"])
    cut = [ids[:length] for ids in rows["input_ids"]]
    ids = torch.tensor([row + [eos] * (length - len(row)) for row in cut])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in cut])
    completion = torch.tensor([sum(label != IGNORE for label in labels[:length]) for labels in rows["labels"]])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(ids, mask, completion), batch_size=job["rows_per_batch"], shuffle=True
    )
    place = device()
    model.to(place)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"])
    meter.begin()
    while True:
        for batch in loader:
            meter.batch(int(batch[1].sum()), int(batch[2].sum()), batch[0].numel(), len(batch[0]))
            input_ids, attention_mask = batch[0].to(place), batch[1].to(place)
            with torch.autocast(place.type, torch.bfloat16, enabled=job["bf16"]):
                loss = model(input_ids=input_ids, attention_mask=attention_mask, labels=input_ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.loss = loss.detach()
            if meter.step() or meter.steps == job["max_steps"] or meter.steps >= job["num_train_epochs"] * len(loader):
                return
            model.train()  # an evaluation in between has switched it off


WAYS = {"ours": _ours, "group_by_length": _group_by_length, "trl": _trl, "notebook": _notebook}
