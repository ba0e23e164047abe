"""Search settings of a task's script with Optuna: trials as processes, the hopeless ones stopped early.

python scripts/search.py nli --model skt/kogpt2-base-v2 --trials 20 --learning_rate 1e-5..1e-3
python scripts/search.py summarize --learning_rate 1e-5..1e-4 --num_train_epochs 2..5 --weight_decay 0,0.01,0.1 --sample_data

LOW..HIGH is a range and A,B,C a choice; all other flags go to the script as they are. The same command goes on with a study
that was interrupted.
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import signal
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.hf_argparser import HfArg

from tasks import get_task
from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_arguments, parse_dataclasses
from tasks.errors import Interrupted, UserError


@dataclass
class SearchArguments:
    """How long is searched, and where the study lies."""

    trials: int = HfArg(default=20, help="Trials in all, those of an earlier start included.")
    seeds: int = HfArg(default=3, help="Runs of the best settings, each with another seed.")
    seed: int = HfArg(default=42, help="Seed of the search, the trials, and the first of the last runs.")
    output_dir: str | None = HfArg(default=None, help="Default: outputs/search-<task>.")

    def __post_init__(self) -> None:
        at_least(self, 1, "trials", "seeds")
        at_least(self, 0, "seed")


def main() -> None:
    """Check the flags, search, and measure the best settings on rows that the search did not see."""
    args, words, name = parse_dataclasses((SearchArguments,), __doc__, positional="task", others=True)

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.publishing.report import read_object
    from tasks.run_folder import RESULTS_FILE, make_writable, write_lines
    from tasks.showing.searching import SOURCES, Search, as_words, hold_out, read_flags, run, space_of
    from tasks.training.output_folder import lock

    task, flags = get_task(name), read_flags(words)
    space = space_of(flags)
    if not space:
        raise UserError("no flag has a range to search; give one, such as --learning_rate 1e-5..1e-3")
    fixed = {flag: given for flag, given in flags.items() if flag not in space}
    fixed.setdefault("metric_for_best_model", [task.main_metric])
    if "push_to_hub" in fixed:
        raise UserError("--push_to_hub would publish every trial; publish the best run with scripts/publish.py afterwards")
    ends = {flag: [each.choices[0] if hasattr(each, "choices") else each.low] for flag, each in space.items()}
    data_args = parse_arguments(task, "", as_words(fixed | ends)).data  # a mistake is told before anything is started
    metric = fixed["metric_for_best_model"][0].removeprefix("eval_")

    folder = Path(args.output_dir or f"outputs/search-{name}")
    make_writable(folder)
    lock(folder)
    higher = metric != "loss" and bool(task.metrics[metric].higher)
    search = Search(folder, space, higher, args.seed, [*words, f"--seed={args.seed}"])
    test_file = fixed.pop("test_file", None)
    if not test_file:
        held = hold_out(task, data_args, args.seed, folder)
        test_file = held.pop("test_file")
        fixed = {flag: given for flag, given in fixed.items() if flag not in SOURCES} | held

    def result_of(where: Path, trial: Any, more: dict[str, Any], goes_on: Callable[[float], bool], **keep: bool) -> Any:
        given = fixed | {flag: [value] for flag, value in trial.params.items()} | more
        script = str(Path(__file__).with_name(f"run_{name}.py"))
        command = [sys.executable, script, *as_words(given | {"output_dir": [where]})]
        return run(command, where, metric, goes_on, **keep)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # the run that is going on is ended, too
    try:
        for trial in search.trials(args.trials):
            value = result_of(folder / f"trial-{trial.number:03}", trial, {"seed": [args.seed]}, search.watch(trial))
            print(f"{search.tell(trial, value)} ({trial.number + 1} of {args.trials})", flush=True)
        best = search.best()
        measured = []
        for seed in range(args.seed, args.seed + args.seeds):
            where = folder / f"best-seed-{seed}"
            value = result_of(where, best, {"seed": [seed], "test_file": test_file}, lambda value: True, keep=True)
            if value is None:
                raise UserError(f"{where}: the best settings diverged with this seed; see {where}.log")
            measured.append(read_object(where / RESULTS_FILE))
            print(f"seed {seed} of the best settings: {metric} {value:.4f}", flush=True)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the study is kept in {folder}, and the same command goes on") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    write_lines(folder / "report.md", [text := report(search.study, metric, measured)])
    print(f"\n{text}\neverything is in {folder}")


def report(study: Any, metric: str, measured: Sequence[Mapping[str, Any]]) -> str:
    """The trials, the best first, and the results of the best settings with several seeds, as Markdown."""
    from tasks.showing.searching import settings_of

    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    # A trial that was stopped has the value of its last evaluation.
    finished = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    finished.sort(key=lambda trial: sign * trial.value)
    stopped = [trial for trial in study.trials if trial.state.name != "COMPLETE"]
    lines = [f"| trial | {metric} | settings |", "|---|---|---|"]
    lines += [f"| {trial.number} | {trial.value:.4f} | {settings_of(trial)} |" for trial in finished]
    lines += [f"| {trial.number} | stopped | {settings_of(trial)} |" for trial in stopped]
    lines += [
        "", f"The best settings: {settings_of(finished[0])}", "",
        f"{finished[0].value:.4f} is the best of {len(study.trials)} trials on the rows that chose it, and optimistic: of "
        "many figures that differ by chance the best one is too good. What to expect is what these settings reach on the "
        "test rows, which the search never saw:", "",
        f"| rows | metric | mean of {len(measured)} seeds | standard deviation | each |", "|---|---|---|---|---|",
    ]  # fmt: skip
    chosen = "eval_loss" if metric == "loss" else metric
    main = get_task(measured[0]["task"]).main_metric  # the loss is measured on the validation rows alone
    for rows, key in (("validation", chosen), ("test", f"test_{main if metric == 'loss' else metric}")):
        values = [results[key] for results in measured]
        deviation = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
        each = ", ".join(f"{value:.4f}" for value in values)
        lines.append(f"| {rows} | {key.removeprefix('test_')} | {statistics.fmean(values):.4f} | {deviation} | {each} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
