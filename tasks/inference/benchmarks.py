"""Public benchmarks, measured by lm-evaluation-harness with a model and a tokenizer that are loaded here."""

from __future__ import annotations

import difflib
import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.errors import UserError, explained
from tasks.inference.predicting import load_predictor
from tasks.model.config import at_commit
from tasks.model.loading import special_ids
from tasks.model.model_files import find_file
from tasks.network import hub_or_cache, is_network
from tasks.run_folder import TASK_FILE, RunConfig, weight_hashes, without_folders

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task

#: Requests at a time. lm-eval keeps the logits of every position, 0.2 GB a request of 1,024 tokens with 51,200 logits.
BATCH_SIZE = 8


def open_benchmarks(names: Sequence[str], include_path: str | None = None) -> list[Task | Group]:
    """The lm-eval tasks and groups of these names, with their data. ``include_path`` is a folder with more of them.

    Raises:
        UserError: lm-eval is not installed; there is no such task; its data cannot be reached or is a loading script; it
            runs code that a model wrote, or shows the model pictures.
    """
    if find_spec("lm_eval") is None:
        raise UserError("--benchmark needs lm-evaluation-harness; install it with: pip install -e '.[lm_eval]'")
    if include_path and not Path(include_path).is_dir():
        raise UserError(f"--include_path {include_path}: no such folder; name one with lm-eval's task files (.yaml)")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=include_path)
    for name in names:
        if name not in manager.all_tasks:
            near = ", ".join(difflib.get_close_matches(name, manager.all_tasks))
            advice = f"did you mean one of {near}?" if near else "`lm-eval ls tasks` lists them"
            raise UserError(f"--benchmark: lm-eval has no task {name!r}; {advice}")
    found: list[Task | Group] = []
    for name in names:
        try:
            with hub_or_cache(name):
                loaded = manager.load([name])
            # A tag stands for several tasks.
            found += [loaded["groups"][name]] if name in loaded["groups"] else loaded["tasks"].values()
            manager.load(found)  # refuses a task that stands there twice
        except Exception as error:  # a task's file, its functions and its data are anybody's
            text = " ".join(str(error).split())
            if "Dataset scripts are no longer supported" in text:
                version = importlib.metadata.version("datasets")
                reason = f"its data set is a loading script, which datasets {version} does not run; choose another benchmark"
            elif is_network(error):
                reason = f"its data could not be reached ({text[:120]}); check the network"
            elif isinstance(error, ModuleNotFoundError):
                reason = f"it needs another package; pip install {error.name}"
            else:
                reason = f"it cannot be loaded ({text[:200] or type(error).__name__}); choose another benchmark"
            raise UserError(f"--benchmark {name}: {reason}") from None
        for task in loaded["tasks"].values():
            if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
                raise UserError(f"--benchmark {name}: it runs code that the model writes, or shows pictures; choose another")
    return found


def measure_benchmarks(
    benchmarks: Sequence[Task | Group],
    model_args: ModelArguments,
    batch_size: int | None = None,
    num_fewshot: int | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """The content of benchmarks.json: one row for each metric of each task, and what the figures belong to.

    ``limit`` takes the first rows of each task, ``num_fewshot`` replaces the task's own number of examples in a prompt.

    Raises:
        UserError: as ``load_predictor``; the model has a classification head; a batch does not fit into memory.
    """
    model_args = at_commit(model_args)
    path = find_file(model_args.model, TASK_FILE, model_args.model_revision)
    if path and (run := RunConfig.load(path.parent)) and run.head:
        raise UserError(f"--benchmark: {model_args.model} has a classification head and writes nothing; take one without")
    # lm-eval's own AutoTokenizer would destroy KoGPT2's Korean. The task generate adds no separators to a tokenizer.
    predictor = load_predictor(model_args, GenerationArguments(), task_name="generate")
    model, tokenizer = predictor.model, predictor.encoder.tokenizer
    model.generation_config = GenerationConfig(**special_ids(tokenizer))  # each task has decoding settings of its own
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    rows_at_once = batch_size or BATCH_SIZE
    advice = [f"--batch_size {rows_at_once // 2}"] if rows_at_once > 1 else []
    with explained("measuring", lambda: [*advice, "--dtype bfloat16"]):
        lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=rows_at_once)
        found = simple_evaluate(lm, tasks=list(benchmarks), num_fewshot=num_fewshot, limit=limit, log_samples=False)
    folder = Path(model_args.model)
    return {
        "model": without_folders(model_args.model),
        "revision": model_args.model_revision,
        "weights_sha256": weight_hashes(folder) if folder.is_dir() else {},
        "dtype": model_args.dtype,
        "lm_eval": importlib.metadata.version("lm_eval"),
        "limit": limit,
        "results": [row for task in found["results"] for row in _rows(task, found)],
    }


def _rows(task: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each metric of a task or a group; lm-eval names them ``acc,none`` and ``acc_stderr,none``."""
    figures = found["results"][task]
    shared = {
        "task": task,
        "version": str(found["versions"].get(task)),  # of a task a number, of a group a text
        "num_fewshot": found["n-shot"].get(task),
        "rows": found["n-samples"].get(task, {}).get("effective"),
    }
    rows = []
    for name, value in figures.items():
        metric, comma, filtered = name.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            spread = figures.get(f"{metric}_stderr,{filtered}")
            label = metric if filtered == "none" else f"{metric} ({filtered})"
            rows.append({**shared, "metric": label, "value": value, "stderr": spread if spread != "N/A" else None})
    return rows


def format_benchmarks(results: Mapping[str, Any]) -> str:
    """The rows of benchmarks.json as a table for a terminal."""
    head = ("task (version)", "shots", "rows", "metric", "value", "+-")
    lines = [head]
    for row in results["results"]:
        figures = ("" if figure is None else f"{figure:.4f}" for figure in (row["value"], row["stderr"]))
        counts = ("" if count is None else str(count) for count in (row["num_fewshot"], row["rows"]))
        lines.append((f"{row['task']} ({row['version']})", *counts, row["metric"], *figures))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
