"""Reports of runs with every field filled by hand, and with nothing but what a run cannot lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks import TASKS, get_task
from tasks.arguments.publishing import PublishArguments
from tasks.publishing.card import render_card
from tasks.publishing.report import Base, Data, RunReport
from tasks.run_folder import RunConfig, prompt_format, write_jsonl

#: What is no figure of the model: the metrics of each task, in the words of all_results.json.
METRICS: dict[str, dict[str, Any]] = {
    "summarize": {
        f"{kind}{unit}": value + more
        for unit, more in (("", 0.0), ("_words", -0.125), ("_syllables", 0.0625))
        for kind, value in (("rouge1", 0.4375), ("rouge2", 0.25), ("rougeL", 0.375))
    },
    "nli": {
        "accuracy": 0.65625,
        "macro_f1": 0.640625,
        "per_label": {
            "entailment": {"precision": 0.75, "recall": 0.5, "f1": 0.6, "support": 32},
            "neutral": {"precision": 0.5625, "recall": 0.71875, "f1": 0.631, "support": 32},
            "contradiction": {"precision": 0.6875, "recall": 0.75, "f1": 0.717, "support": 32},
        },
        "confusion_matrix": {
            "entailment": {"entailment": 16, "neutral": 12, "contradiction": 4},
            "neutral": {"entailment": 3, "neutral": 23, "contradiction": 6},
            "contradiction": {"entailment": 2, "neutral": 6, "contradiction": 24},
        },
    },
    "qa": {"exact_match": 51.5625, "f1": 72.25},
}
METRICS["generate"] = METRICS["scratch"] = {
    "perplexity": 1234.5678,
    "bits_per_character": 2.25,
    "tokens_per_character": 0.5625,
    "unknown_token_share": 0.00025,
    "samples": 64,
    "repetition": 0.03125,
    "distinct_1": 0.875,
    "distinct_2": 0.96875,
}
INTERVALS = {
    "summarize": {name: [value - 0.03125, value + 0.03125] for name, value in METRICS["summarize"].items()},
    "nli": {"accuracy": [0.5625, 0.75], "macro_f1": [0.546875, 0.734375]},
    "qa": {"exact_match": [45.3125, 57.8125], "f1": [68.5, 75.75]},
    "generate": {"perplexity": [1200.5, 1270.25], "bits_per_character": [2.1875, 2.3125]},
}
INTERVALS["scratch"] = INTERVALS["generate"]
BASELINES: dict[str, dict[str, Any]] = {
    "summarize": {"baseline": "lead sentence", **{f"baseline_{name}": 0.34375 for name in METRICS["summarize"]}},
    "nli": {"baseline": "majority label", "baseline_accuracy": 0.333, "baseline_macro_f1": 0.167},
    "qa": {"baseline": "word matching", "baseline_exact_match": 8.5, "baseline_f1": 17.25},
    "generate": {"baseline": "character unigrams", "baseline_bits_per_character": 4.5},
}
BASELINES["scratch"] = BASELINES["generate"]
for name in TASKS.keys() - METRICS.keys():  # of every other task a figure for each of its metrics
    METRICS[name] = {metric: 0.40625 + n / 64 for n, metric in enumerate(get_task(name).metrics)}
    INTERVALS[name] = {metric: [value - 0.03125, value + 0.03125] for metric, value in METRICS[name].items()}
    BASELINES[name] = {f"baseline_{metric}": 0.34375 for metric in METRICS[name]}
    BASELINES[name]["baseline"] = next(iter(get_task(name).baselines))

ARGUMENTS = {
    "adam_beta1": 0.9, "bf16": True, "dtype": "float32", "gradient_checkpointing": False, "learning_rate": 5e-05,
    "lr_scheduler_kwargs": {"num_cycles": 2}, "lr_scheduler_type": "cosine_with_restarts", "num_train_epochs": 2.0,
    "optim": "adamw_torch_fused", "per_device_train_batch_size": 16, "seed": 42, "warmup_steps": 0.1,
}  # fmt: skip
DEFAULTS = ARGUMENTS | {
    "bf16": False, "learning_rate": 3e-05, "lr_scheduler_kwargs": None, "lr_scheduler_type": "linear",
    "num_train_epochs": 3.0,
}  # fmt: skip

#: Validation rows as predictions.jsonl holds them; the Markdown in the second is to be shown, not obeyed.
PREDICTIONS = [
    {
        "id": "row-0",
        "prompt": "시청은 다음 달부터 주말에도\n도서관을 연다고 밝혔다.<summarize>",
        "prediction": "도서관, 주말에도 연다",
        "references": ["시청, 주말에도 도서관 연다"],
        "scores": {},
    },
    {
        "id": "row-1",
        "prompt": "1. *별* _밑줄_ | `코드` <b>$x$ </s>\n- ~~비~~가 온다 # 끝<summarize>",
        "prediction": "<!-- /generated:examples -->",
        "references": ["비가  온다", "[비](http://x.example)"],
        "scores": {},
    },
    {"id": "row-2", "prompt": "셋째 행<summarize>", "prediction": None, "references": ["셋째"], "scores": {}},
]


def config_of(task_name: str, **values: Any) -> RunConfig:
    """The task.json of a run of KoGPT2."""
    task = get_task(task_name)
    known: dict[str, Any] = {
        "task": task_name,
        "task_version": task.version,
        "base_model": "skt/kogpt2-base-v2",
        "prompt_format": prompt_format(task),
        "separators": {str(separator): 9 + n for n, separator in enumerate(task.separators)},
        "label_words": task.label_words,
        "max_length": 1024,
        "max_new_tokens": task.max_new_tokens,
    }
    return RunConfig(**(known | values))


def bare_report(task_name: str, **results: Any) -> RunReport:
    """A report of which nothing is known but task.json and results."""
    return RunReport(config_of(task_name), results=results)


def full_report(task_name: str) -> RunReport:
    """A report in which nothing is unknown, and nothing is of the machine that runs the tests."""
    script = f"python scripts/run_{task_name}.py --train_file train.jsonl --validation_file validation.jsonl"
    settings = {"num_beams": 1, "top_k": 50, "top_p": 0.95, "temperature": 1.0, "repetition_penalty": 1.0}
    settings |= {
        "no_repeat_ngram_size": 0,
        "num_samples": 64,
        "max_new_tokens": 48,
        "do_sample": get_task(task_name).do_sample,
    }
    measured = {**METRICS[task_name], "intervals": INTERVALS[task_name], **BASELINES[task_name]}
    base = Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2", "d0c0df4", license="cc-by-nc-sa-4.0")
    # fmt: off
    return RunReport(
        config=config_of(task_name, generation=settings),
        base=Base(from_scratch=True) if get_task(task_name).from_scratch else base,
        data=Data(
            source="files",
            license="cc-by-4.0",
            files=[
                {"split": split, "name": f"{split}.jsonl", "sha256": digit * 64, "bytes": size}
                for split, digit, size in (("train", "a", 1_234_567), ("validation", "b", 98_765), ("test", "c", 43_210))
            ],
        ),
        arguments=dict(ARGUMENTS),
        defaults=dict(DEFAULTS),
        parameters=125_164_032,
        model_type="gpt2",
        hardware={
            "processes": 2, "system": "Linux", "accelerator": "NVIDIA A100-SXM4-40GB", "accelerator_memory_gib": 40,
            "processor": "AMD EPYC 7742", "cores": 16,
        },
        versions={"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        git_commit="0123456789abcdef0123456789abcdef01234567",
        command=f"torchrun --nproc_per_node 2{script.removeprefix('python')} --bf16",
        choices={"card_examples": 2},
        results={
            "task": task_name, "base_model": "skt/kogpt2-base-v2", "seed": 42, "eval_loss": 1.53125,
            "rows": 1096, **measured,
            "predict_runtime": 83.4, "predict_rows_per_second": 13.1,
            "test_rows": 512, **{f"test_{name}": value for name, value in measured.items()},
            "test_predict_runtime": 40.0, "test_predict_rows_per_second": 12.8,
            "train_runtime": 7384.2, "train_samples_per_second": 27.1, "train_steps_per_second": 0.85,
            "total_flos": 1.5e16, "train_loss": 1.75, "epoch": 2.0, "train_tokens_per_second": 8123.4,
            "counts": {
                "train": {"rows": 100_000, "skipped": 12, "cut": 3456, "tokens": 30_000_000, "labelled_tokens": 2_500_000},
                "validation": {
                    "rows": 1096, "cut": 38, "tokens": 330_000, "labelled_tokens": 27_000, "shared_with_train": 12,
                },
                "test": {"rows": 512, "tokens": 150_000, "labelled_tokens": 12_500, "shared_with_train": 0},
            },
        },
        log=[
            {"step": 1000, "epoch": 0.32, "loss": 2.125, "grad_norm": 1.5, "learning_rate": 5e-05},
            {"step": 3125, "epoch": 1.0, "loss": 1.8125, "grad_norm": 1.25, "learning_rate": 2.5e-05},
            {"step": 3125, "epoch": 1.0, "eval_loss": 1.625, "eval_runtime": 9.0},
            {"step": 6250, "epoch": 2.0, "eval_loss": 1.53125, "eval_runtime": 9.0},
            {"step": 6250, "epoch": 2.0, "train_loss": 1.75, "train_runtime": 7384.2},
        ],
    )
    # fmt: on


def run_folder(folder: Path) -> Path:
    """``folder`` with the files of a run that a card looks at."""
    folder.mkdir(parents=True)
    (folder / "loss.png").touch()
    write_jsonl(folder / "predictions.jsonl", PREDICTIONS)
    return folder


def card(report: RunReport, folder: Path, model_id: str | None = None, **choices: Any) -> str:
    """The card of ``report``; ``choices`` are PublishArguments."""
    return render_card(report, folder, PublishArguments(**choices), model_id)


ALL_TASKS = sorted(TASKS)
