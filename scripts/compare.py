"""Compare finished runs: a table here, and a page with differences, curves and rows.

python scripts/compare.py outputs/nli-a outputs/nli-b
python scripts/compare.py outputs/nli-a outputs/nli-b --output_file compare.html --split test
python scripts/compare.py outputs/*
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_dataclasses
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.showing.comparing import Comparison


@dataclass
class CompareArguments:
    """What is compared, and where the page goes."""

    output_file: str = HfArg(default="compare.html", help="The page, one file that needs no other.")
    split: Literal["validation", "test"] = HfArg(default="validation", help="test: the rows of the runs' --test_file.")
    seed: int = HfArg(default=42, help="Seed of the draws of rows.")

    def __post_init__(self) -> None:
        at_least(self, 0, "seed")


def main() -> None:
    """Read the runs, measure them on the rows they share, print a table a task, and write the page."""
    args, folders = parse_dataclasses((CompareArguments,), __doc__, positional="run", many=True)
    folders = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    if len(folders) < 2:
        raise UserError(f"name two runs or more, such as outputs/a outputs/b; {len(folders)} was given")

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.run_folder import write_lines
    from tasks.showing.comparing import as_page, compare, load_runs

    runs = [run for number, folder in enumerate(folders, 1) for run in load_runs(folder, number, args.split)]
    comparisons = compare(runs, args.seed)
    write_lines(args.output_file, [as_page(comparisons)])
    print("\n\n".join(map(as_text, comparisons)))
    print(f"\nthe whole comparison is in {args.output_file}")


def as_text(comparison: Comparison) -> str:
    """The tables of one task for the terminal, in Markdown."""
    from tasks.showing.comparing import facts_of, interval, number, verdict

    task, main = comparison.task, comparison.task.main_metric
    others = {*comparison.metrics} - {main}
    facts = [{name: cell for name, cell in row.items() if name not in others} for row in facts_of(comparison)]
    parts = [f"{task.name}:", _table([*facts[0]], [[*row.values()] for row in facts])]
    for pair in comparison.pairs:
        names = f"run {pair.second.number} - run {pair.first.number}"
        if pair.reason:
            parts.append(f"\n{names}: no difference is told: {pair.reason}")
            continue
        drawn = f", in {pair.groups} groups that share their {task.grouped_by}" if pair.groups else ""
        parts.append(f"\n{names} on the {pair.shared} rows that both have{drawn} (paired bootstrap, 95 % interval):")
        rows = [
            [name, number(each["first"]), number(each["second"]), f"{each['difference']:+.4f}", interval(each["interval"]),
             f"{each['p_value']:.3f}", verdict(each, task.metrics[name].higher)]
            for name, each in pair.differences.items() if name in task.metrics
        ]  # fmt: skip
        head = ["metric", f"run {pair.first.number}", f"run {pair.second.number}", "difference", "interval", "p", "verdict"]
        parts.append(_table(head, rows))
    return "\n".join(parts)


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


if __name__ == "__main__":
    main()
