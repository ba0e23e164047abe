"""Measure this project beside what a user would pick instead: runs in turn, one process each, medians with their spread.

python scripts/benchmark.py train --task nli --train_file nli.jsonl --bf16 --output_file nli.json
python scripts/benchmark.py train --task nli --train_file nli.jsonl --time_to_quality --max_seconds 300
python scripts/benchmark.py infer --task summarize --validation_file news.jsonl --variants ours,generate_batch_16
python scripts/benchmark.py prepare --task nli --sample_data

--random_model small --tokenizer FOLDER measures an empty GPT-2 in place of --model: speed does not depend on the weights.
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.data import DataArguments
from tasks.arguments.model import ModelArguments
from tasks.benchmarking.arguments import BenchmarkArguments, set_defaults
from tasks.benchmarking.variants import choose
from tasks.errors import UserError

#: What all runs share and the results name elsewhere, or not at all: folders of this machine.
NOT_SETTINGS = ("command", "task", "variants", "repeats", "random_model", "folder", "output_file", "tokenizer")


def main() -> None:
    """Prepare model and rows once, run every variant in turn, write and print what they measured."""
    args, data_args, model_args, command = parse_dataclasses(
        (BenchmarkArguments, DataArguments, ModelArguments), __doc__, positional="command"
    )
    set_defaults(command, args, data_args)
    chosen = choose(command, args.task, args.variants, args.time_to_quality)

    from tasks.benchmarking import results, running
    from tasks.benchmarking.workspace import make_workspace
    from tasks.distributed import processes
    from tasks.machine import hardware, slow_half, versions
    from tasks.run_folder import make_writable, write_json

    for flag, kind in (("--bf16", "bfloat16" if args.bf16 else "float32"), ("--dtype", model_args.dtype)):
        if slow := slow_half(flag, kind, processes().device):
            raise UserError(slow)
    output = Path(args.output_file or f"outputs/benchmark-{command}-{args.task}.json")
    special = output.exists() and not output.is_file()  # /dev/null, a pipe: nothing is written beside it
    if not special:
        make_writable(output.parent, "--output_file")
    with running.ended_together(), tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        common = asdict(args) | make_workspace(Path(name), command, args, data_args, model_args)
        jobs = {label: common | {"method": variant.method} | variant.settings for label, variant in chosen.items()}
        runs = running.run_all(jobs, args.repeats, Path(name))

    summary = results.summarize(runs)
    notes = {label: variant.about for label, variant in chosen.items()}
    found: dict[str, Any] = {
        "command": command,
        "task": args.task,
        "model": f"empty GPT-2 {args.random_model}" if args.random_model else Path(model_args.model).name,
        "repeats": args.repeats,
        "settings": {key: value for key, value in common.items() if key not in NOT_SETTINGS},
        "max_train_samples": data_args.max_train_samples,
        "max_eval_samples": data_args.max_eval_samples,
        "machine": hardware(processes().device, 1) | {"versions": versions("trl")},
        "about": notes,
        "variants": summary,
        "runs": runs,
    }
    if args.time_to_quality:
        found["quality"] = results.compare(runs)
    write_json(output, found)
    print(results.table(command, summary, notes))
    if found.get("quality"):
        print(f"\n{results.quality_table(found['quality'])}")
    if found.get("quality") and not special:
        picture = output.with_suffix(".png")
        results.plot(picture, runs, found["quality"], f"{args.task}, {found['model']}")
        print(f"the curves are in {picture}")
    print(f"\nevery run is in {output}")

    failed = [f"{label}: {run['failed']}" for label, run in summary.items() if "failed" in run]
    if failed:
        raise UserError(f"{len(failed)} of the variants failed ({'; '.join(failed)}); the others are in {output}")


if __name__ == "__main__":
    main()
