"""Measure this project beside what a user would pick instead: interleaved runs, one process each, medians with their spread.

python scripts/benchmark.py train --task nli --train_file nli.jsonl --bf16 --output_file nli.json
python scripts/benchmark.py train --task nli --train_file nli.jsonl --time_to_quality --max_seconds 300
python scripts/benchmark.py infer --task summarize --validation_file news.jsonl --variants ours,generate_batch_16
python scripts/benchmark.py prepare --task nli --sample_data
python scripts/benchmark.py scale --random_model mini --tokenizer FOLDER --corpus_mb 20,200,2000

--random_model small --tokenizer FOLDER measures an empty GPT-2 in place of --model: speed does not depend on the weights.
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import tempfile
from pathlib import Path
from typing import Any

from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.data import DataArguments
from tasks.arguments.model import ModelArguments
from tasks.benchmarking.arguments import DEFAULT_ROWS, BenchmarkArguments
from tasks.benchmarking.variants import ROWS_PER_BATCH, Variant, choose
from tasks.errors import UserError

COMMANDS = ("train", "infer", "prepare", "scale")


def main() -> None:
    """Prepare model and rows once, run every variant in turn, write what they measured."""
    args, data_args, model_args, command = parse_dataclasses(
        (BenchmarkArguments, DataArguments, ModelArguments), __doc__, positional="command"
    )
    if command not in COMMANDS:
        raise UserError(f"{command}: no such command; take one of {', '.join(COMMANDS)}")
    if args.time_to_quality and command != "train":
        raise UserError(f"--time_to_quality is for train, not for {command}")
    chosen = choose(command, args.task, args.variants, args.time_to_quality) if command != "scale" else {}
    limit_rows(command, args, data_args)

    from tasks.benchmarking import machine, quality, report, running
    from tasks.benchmarking.workspace import make_workspace
    from tasks.run_folder import make_writable, write_json

    task = "generate" if command == "scale" else args.task
    output = Path(args.output_file or f"outputs/benchmark-{command}-{task}.json")
    try:
        make_writable(output.parent)
    except UserError as error:
        raise UserError(str(error).replace("--output_dir", "--output_file")) from None
    if command == "scale":
        from tasks.benchmarking import scaling

        scaling.measure(args, data_args, model_args, output)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        common = make_workspace(Path(name), command, args, data_args, model_args) | settings_of(command, args)
        jobs = {label: job_of(common, variant) for label, variant in chosen.items()}
        repeats = args.repeats or (1 if args.time_to_quality else 5)
        runs = running.run_all(jobs, repeats, Path(name))
        check = running.start(common | {"way": "check"}, Path(name)) if "ours" in jobs and command == "infer" else None

    summary = running.summarize(runs, list(chosen))
    comparison = quality.compare(runs) if args.time_to_quality else {}
    results: dict[str, Any] = {
        "command": command,
        "task": args.task,
        "model": f"empty GPT-2 {args.random_model}" if args.random_model else Path(model_args.model).name,
        "repeats": repeats,
        "settings": {key: value for key, value in common.items() if key not in ("command", "task", "folder")},
        "max_train_samples": data_args.max_train_samples,
        "max_eval_samples": data_args.max_eval_samples,
        "machine": machine.describe(),
        "about": {label: variant.about for label, variant in chosen.items()},
        "variants": summary,
        "runs": runs,
    }
    results |= {"check": check} if check else {}
    results |= {"quality": comparison} if comparison else {}
    write_json(output, results)
    print(report.table(command, summary, chosen))
    if check and "failed" not in check:
        print(f"\nours and generate row by row say the same on {check['equal']} of {check['rows']} rows")
    if comparison:
        picture = output.with_suffix(".png")
        quality.plot(picture, runs, comparison, f"{args.task}, {results['model']}")
        print("\n" + report.quality_table(comparison) + f"\nthe curves are in {picture}")
    print(f"\nevery run is in {output}")

    failed = {label: figures["failed"] for label, figures in summary.items() if "failed" in figures}
    failed |= {"check": check["failed"]} if check and "failed" in check else {}
    if failed:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in failed.items())
        raise UserError(f"{len(failed)} of the variants failed ({reasons}); the others are in {output}")


def limit_rows(command: str, args: BenchmarkArguments, data_args: DataArguments) -> None:
    """A few rows where nothing else ends a run soon; all of them with --time_to_quality."""
    rows = DEFAULT_ROWS.get(command, {}).get(args.task)
    if command == "train" and not args.time_to_quality and args.max_steps is None:
        data_args.max_train_samples = data_args.max_train_samples or rows
    if command == "infer":
        data_args.max_eval_samples = data_args.max_eval_samples or rows


def settings_of(command: str, args: BenchmarkArguments) -> dict[str, Any]:
    """What every run is told beside model and rows."""
    from tasks.benchmarking.machine import free_memory_gb

    free = free_memory_gb()
    settings = {
        "seed": args.seed,
        "bf16": args.bf16,
        "max_seconds": args.max_seconds,
        "max_memory_gb": args.max_memory_gb or (0.9 * free if free else None),
    }
    if command == "prepare":
        return settings | {"rows": args.rows}
    if command == "infer":
        return settings
    return settings | {
        "tokens_per_batch": args.tokens_per_batch,
        "rows_per_batch": args.rows_per_batch or ROWS_PER_BATCH[args.task],
        "learning_rate": args.learning_rate,
        # Until --max_seconds are over, however often that is.
        "num_train_epochs": args.num_train_epochs or (50 if args.time_to_quality else 1),
        "max_steps": args.max_steps,
        "warmup_steps": args.warmup_steps,
        "time_to_quality": args.time_to_quality,
        "eval_seconds": args.eval_seconds,
        "floor_seconds": 0.3,
    }


def job_of(common: dict[str, Any], variant: Variant) -> dict[str, Any]:
    """The job of one variant."""
    return common | {"way": variant.way} | variant.settings


if __name__ == "__main__":
    main()
