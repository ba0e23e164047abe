"""Measure any folder or Hub model on a task's data, without training.

python scripts/evaluate_model.py outputs/qa-kogpt2-base-v2 --validation_file KorQuAD_v1.0_dev.json
python scripts/evaluate_model.py skt/kogpt2-base-v2 --task generate --validation_file texts.txt
python scripts/evaluate_model.py outputs/nli-mini --sample_data
torchrun --nproc_per_node 4 scripts/evaluate_model.py outputs/qa-kogpt2-base-v2
python scripts/evaluate_model.py skt/kogpt2-base-v2 --benchmark kobest
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from transformers.hf_argparser import HfArg

from tasks import TASKS
from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.distributed import is_first, world_size
from tasks.errors import UserError


@dataclass
class EvaluateArguments:
    """Which task, and where the results go."""

    task: str | None = HfArg(default=None, help=f"{', '.join(TASKS)}; the model's own by default.")
    output_dir: str | None = HfArg(default=None, help="Default: outputs/evaluate-<task>-<model name>.")
    batch_size: int | None = HfArg(default=None, help="Rows at a time; by default as many as are fast and fit into memory.")
    seed: int = HfArg(default=42, help="Seed of sampling, and of the share of train that is measured on.")
    benchmark: str | None = HfArg(default=None, help="Tasks of lm-evaluation-harness instead: kobest or haerae,kobest_copa.")
    num_fewshot: int | None = HfArg(default=None, help="--benchmark: examples in each prompt; its own number by default.")
    include_path: str | None = HfArg(default=None, help="--benchmark: folder with lm-eval tasks (.yaml) of your own.")

    def __post_init__(self) -> None:
        at_least(self, 1, "batch_size")
        at_least(self, 0, "num_fewshot")
        for flag in ("num_fewshot", "include_path"):
            if self.benchmark is None and getattr(self, flag) is not None:
                raise UserError(f"--{flag} goes with --benchmark; add that, or leave it out")


def run_benchmarks(args: EvaluateArguments, model_args: ModelArguments, data_args: Any, generation_args: Any) -> None:
    """Measure lm-eval's tasks; the rows and prompts are theirs. Raises UserError on flags about rows, prompts and texts."""
    given = {"task": args.task is not None}
    for group in (data_args, generation_args):
        given |= {f.name: getattr(group, f.name) != f.default for f in fields(group) if f.name != "max_eval_samples"}
    if flag := next((name for name in given if given[name]), None):
        raise UserError(f"--{flag}: the rows, prompts and settings of --benchmark are its own; leave one of them out")
    if world_size() > 1:
        raise UserError("--benchmark runs in one process; start it with python instead of torchrun")
    names = list(dict.fromkeys(name.strip() for name in args.benchmark.split(",") if name.strip()))
    if not names:
        raise UserError("--benchmark names no task; give one such as kobest")

    from tasks.inference.benchmarks import format_benchmarks, measure_benchmarks, open_benchmarks
    from tasks.run_folder import BENCHMARKS_FILE, TASK_FILE, make_writable, refuse_links, write_json

    folder = Path(model_args.model)
    own = (folder / TASK_FILE).is_file()
    output_dir = Path(args.output_dir or (folder if own else f"outputs/benchmark-{folder.resolve().name}"))
    refuse_links(output_dir)
    if (output_dir / TASK_FILE).exists() and output_dir.resolve() != folder.resolve():
        raise UserError(f"--output_dir {output_dir} holds another trained model; choose another folder")
    benchmarks = open_benchmarks(names, args.include_path)  # before the model, which takes longer
    make_writable(output_dir)
    results = measure_benchmarks(benchmarks, model_args, args.batch_size, args.num_fewshot, data_args.max_eval_samples)
    write_json(output_dir / BENCHMARKS_FILE, results)
    print(format_benchmarks(results))
    print(f"everything is in {output_dir / BENCHMARKS_FILE}")


def main() -> None:
    """Load the model, read the rows, predict them, compare."""
    types = (EvaluateArguments, DataArguments, GenerationArguments, ModelArguments)
    args, data_args, generation_args, model_args, folder = parse_dataclasses(types, __doc__, positional="model_folder")

    if args.benchmark is not None:
        run_benchmarks(args, replace(model_args, model=folder), data_args, generation_args)
        return

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.inference.measuring import format_results, measure
    from tasks.inference.predicting import load_predictor
    from tasks.preparing.splits import load_examples
    from tasks.run_folder import RESULTS_FILE, RUN_FILE, TASK_FILE, make_writable, refuse_links, write_json

    predictor = load_predictor(
        replace(model_args, model=folder),
        generation_args,
        task_name=args.task,
        max_length=data_args.max_length,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    task = predictor.task
    output_dir = Path(args.output_dir or Path("outputs") / f"evaluate-{task.name}-{Path(folder).resolve().name}")
    refuse_links(output_dir)
    if (output_dir / TASK_FILE).exists() or (output_dir / RUN_FILE).exists():
        raise UserError(f"--output_dir {output_dir} holds a trained model and its results; choose another folder")
    make_writable(output_dir)

    examples, counts = load_examples(task, data_args, seed=args.seed, splits=("validation",))
    results = {"task": task.name, "base_model": folder, "seed": args.seed}
    results |= measure(predictor, examples["validation"], output_dir)
    if not is_first():
        return
    results["counts"] = counts
    write_json(output_dir / RESULTS_FILE, results)
    print(format_results(task, results))
    print(f"everything is in {output_dir}")


if __name__ == "__main__":
    main()
