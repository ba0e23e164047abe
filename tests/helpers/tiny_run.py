"""The folder of a finished run, written without training, and what tests of publishing look at in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tasks import get_task
from tasks.arguments.publishing import PublishArguments
from tasks.machine import versions
from tasks.model.config import load_config
from tasks.model.tokenizer import load_tokenizer
from tasks.publishing.release import write_card
from tasks.publishing.report import Base, Data, RunReport
from tasks.run_folder import RunConfig, prompt_format, weight_hashes, write_json
from tests.conftest import gpt2, model_args, with_separators

#: What is sent of the folder that ``write_run`` makes.
SENT = [
    "README.md",
    "all_results.json",
    "config.json",
    "generation_config.json",
    "loss.png",
    "model.safetensors",
    "task.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def write_run(folder: Path, base: str, accuracy: float = 0.75) -> Path:
    """A run of nli on a tiny model with the tokenizer of the folder ``base``; its card is written, nothing is published."""
    task = get_task("nli")
    arguments = model_args(base)
    tokenizer, _ = with_separators(load_tokenizer(arguments, load_config(arguments)), task)
    model = gpt2(len(tokenizer), initializer_range=0.5)  # small weights would only ever repeat the last token
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = RunConfig(
        task="nli",
        task_version=task.version,
        base_model="kogpt2-base-v2",
        prompt_format=prompt_format(task),
        separators={str(separator): tokenizer.convert_tokens_to_ids(separator) for separator in task.separators},
        label_words=task.label_words,
        max_length=128,
        max_new_tokens=12,
        generation={"num_beams": 1, "do_sample": False, "max_new_tokens": 12},
    )
    config.save(folder)
    results = {"task": "nli", "seed": 42, "rows": 8, "eval_loss": 1.5, "accuracy": accuracy, "train_runtime": 3.0}
    write_json(folder / "all_results.json", results | {"weights_sha256": weight_hashes(folder)})
    write_json(folder / "trainer_state.json", {"log_history": [{"step": 1, "epoch": 1.0, "eval_loss": 1.5}]})
    (folder / "loss.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    report = RunReport(
        config,
        base=Base("kogpt2-base-v2", "skt/kogpt2-base-v2", license="cc-by-nc-sa-4.0"),
        data=Data("files", files=[{"split": "train", "name": "train.jsonl", "sha256": "0" * 64, "bytes": 1}]),
        versions=versions(),
        command="python scripts/run_nli.py --model kogpt2-base-v2 --train_file train.jsonl",
    )
    report.save(folder)
    write_card(folder, RunReport.load(folder), PublishArguments())
    return folder


def digests(folder: Path) -> dict[str, str]:
    """The hash of every file below ``folder``, and where links lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def edit_json(path: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    write_json(path, json.loads(path.read_text("utf-8")) | values)
