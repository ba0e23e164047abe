"""Measure run_scratch.py: bits per character against tokens and seconds, of each architecture with each optimizer.

python docs/measure_scratch.py --train_file train.jsonl --validation_file validation.jsonl --rates 1e-3 2e-3 4e-3 \\
    --output_dir outputs/measure --seeds 1 2 3 -- --model_size mini --vocab_size 8000 --n_positions 512 \\
    --tokens_per_batch 8192 --max_steps 2000

What follows -- goes to run_scratch.py. Each variant is run with each rate and the first seed, then with its best rate and
the other seeds, then all but the first variant with --share of the steps. A run that is finished is not run again, so the
same command continues. The figures are read from all_results.json and trainer_state.json; seconds leave evaluations out,
and are told with --jobs 1 alone, since runs that share a device slow each other.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: The first is what the others are compared with.
VARIANTS = {
    "gpt2+adamw": ("gpt2", "adamw_torch_fused"),
    "gpt2+muon": ("gpt2", "muon"),
    "qwen3+adamw": ("qwen3", "adamw_torch_fused"),
    "qwen3+muon": ("qwen3", "muon"),
}


@dataclass
class Run:
    """A finished run: its final bits per character, and (tokens, seconds, bits per character) of each evaluation."""

    bits: float
    curve: list[tuple[float, float, float]]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in ``folder``."""
        results = json.loads((folder / "all_results.json").read_text("utf-8"))
        history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
        an_epoch = results["counts"]["train"]["tokens"]
        curve, tokens, seconds = [], 0.0, 0.0
        for entry in history:
            if "loss" in entry:
                new = entry["epoch"] * an_epoch - tokens
                tokens, seconds = tokens + new, seconds + new / entry["tokens_per_second"]
            elif "eval_loss" in entry:
                # The loss is per token of the same texts, so both measures of a run differ by one factor.
                curve.append((tokens, seconds, entry["eval_loss"] * results["bits_per_character"] / results["eval_loss"]))
        return cls(results["bits_per_character"], curve)

    def reaches(self, bits: float) -> tuple[float, float] | None:
        """Tokens and seconds at which the curve falls to ``bits``, between evaluations on a straight line; None: never."""
        before = None
        for point in self.curve:
            if point[2] <= bits:
                if before is None or before[2] == point[2]:
                    return point[:2]
                part = (before[2] - bits) / (before[2] - point[2])
                return tuple(a + part * (b - a) for a, b in zip(before[:2], point[:2]))
            before = point
        return None


def main() -> None:
    """All runs, then table and plot."""
    argv, passed = sys.argv[1:], []
    if "--" in argv:
        argv, passed = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--rates", nargs="+", default=["1e-3", "2e-3", "4e-3"], help="Peak learning rates to try.")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"])
    parser.add_argument("--evaluations", type=int, default=20, help="Evaluations a run.")
    parser.add_argument("--share", type=float, default=0.5, help="Share of the steps of the short runs; 0: none.")
    parser.add_argument("--jobs", type=int, default=1, help="Runs at a time, which share the device.")
    args = parser.parse_args(argv)
    if "--max_steps" not in passed:
        parser.error("name --max_steps after --")
    steps = int(passed[passed.index("--max_steps") + 1])

    def run(job: tuple[str, str, str, int]) -> Run:
        variant, rate, seed, max_steps = job
        folder = args.output_dir / f"{variant}-{rate}-{seed}-{max_steps}"
        if not (folder / "all_results.json").is_file():
            every = max(1, max_steps // args.evaluations)
            architecture, optim = VARIANTS[variant]
            flags = {
                "train_file": args.train_file, "validation_file": args.validation_file, "output_dir": folder, "seed": seed,
                "architecture": architecture, "optim": optim, "learning_rate": rate, "dropout": 0, "num_samples": 1,
                "eval_strategy": "steps", "eval_steps": every, "logging_steps": every, "save_strategy": "no",
                "report_to": "none", "disable_tqdm": True,
            }  # fmt: skip
            command = [sys.executable, ROOT / "scripts" / "run_scratch.py", "--overwrite_output_dir"]
            command += [text for name, value in flags.items() for text in (f"--{name}", value)]
            done = subprocess.run(
                [*map(str, command), *passed, "--max_steps", str(max_steps)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{folder}: {done.stderr}")
        found = Run.read(folder)
        print(f"{folder.name}: {found.bits:.4f} bits per character", flush=True)
        return found

    with ThreadPoolExecutor(args.jobs) as pool:
        first = [(variant, rate, args.seeds[0], steps) for variant in args.variants for rate in args.rates]
        tried = dict(zip(first, [run(first[0]), *pool.map(run, first[1:])]))  # one alone: it trains the tokenizer
        best = {}
        for variant in args.variants:
            finite = [job for job in first if job[0] == variant and math.isfinite(tried[job].bits)]
            best[variant] = min(finite, key=lambda job: tried[job].bits)[1]
        more = [(variant, best[variant], seed, steps) for seed in args.seeds[1:] for variant in args.variants]
        short = round(steps * args.share)
        if short:
            more += [(variant, best[variant], seed, short) for seed in args.seeds for variant in args.variants[1:]]
        runs = tried | dict(zip(more, pool.map(run, more)))
    chosen = {v: [runs[v, best[v], seed, steps] for seed in args.seeds] for v in args.variants}
    shorter = {v: [runs[v, best[v], seed, short] for seed in args.seeds] for v in args.variants[1:]} if short else {}
    text = "\n".join([*rates_table(tried), "", *table(chosen, shorter, best, args.share, args.jobs == 1)])
    (args.output_dir / "table.md").write_text(text + "\n", "utf-8")
    print(text)
    plot(chosen, args.output_dir / "scratch.png", args.jobs == 1)


def rates_table(tried: dict[tuple[str, str, str, int], Run]) -> list[str]:
    """Markdown: final bits per character of the first seed for each variant and rate."""
    rates = list(dict.fromkeys(rate for _, rate, *_ in tried))
    bits = {(variant, rate): run.bits for (variant, rate, *_), run in tried.items()}
    rows = [[v, *(f"{bits[v, rate]:.3f}" for rate in rates)] for v in dict.fromkeys(v for v, _ in bits)]
    return markdown(["rate", *rates], rows)


def table(
    chosen: dict[str, list[Run]], shorter: dict[str, list[Run]], best: dict[str, str], share: float, timed: bool
) -> list[str]:
    """Markdown: each variant's bits per character, and its tokens and (``timed``) seconds to the first's final ones."""
    goal = statistics.mean(run.bits for run in next(iter(chosen.values())))
    whole = statistics.mean(run.curve[-1][0] for run in next(iter(chosen.values())))
    rows = []
    for variant, runs in chosen.items():
        met = [found for run in runs if (found := run.reaches(goal))]
        rate = statistics.mean(run.curve[-1][0] / run.curve[-1][1] for run in runs)
        # The mean of the curves that get there; one that never does leaves the cell empty.
        tokens, seconds = map(statistics.mean, zip(*met)) if len(met) == len(runs) else (math.nan, math.nan)
        reached = "" if math.isnan(tokens) else f"{tokens / 1e6:.2f} M ({tokens / whole:.0%})"
        times = [f"{rate:,.0f}", "" if math.isnan(seconds) else f"{seconds:.0f}"] if timed else []
        rows.append([variant, best[variant], spread(runs), spread(shorter.get(variant, [])), reached, *times])
    head = ["", "rate", "bits per character", f"with {share:.0%} of the steps" if shorter else "", f"tokens to {goal:.3f}"]
    return markdown([*head, *(["tokens/s", f"seconds to {goal:.3f}"] if timed else [])], rows)


def spread(runs: list[Run]) -> str:
    """The mean, and the range where there are several."""
    bits = [run.bits for run in runs]
    if len(bits) < 2:
        return "".join(f"{value:.3f}" for value in bits)
    return f"{statistics.mean(bits):.3f} ({min(bits):.3f} to {max(bits):.3f})"


def markdown(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def plot(chosen: dict[str, list[Run]], path: Path, timed: bool) -> None:
    """Bits per character against tokens and (``timed``) against seconds, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    count = 2 if timed else 1
    figure, panes = plt.subplots(1, count, figsize=(1 + 5 * count, 4), layout="constrained", sharey=True, squeeze=False)
    panes = panes[0]
    for number, (variant, runs) in enumerate(chosen.items()):
        for pane, place, scale in zip(panes, (0, 1), (1e6, 1)):
            for run in runs:
                label = variant if run is runs[0] else None
                values = [point[place] / scale for point in run.curve]
                pane.plot(values, [point[2] for point in run.curve], color=f"C{number}", label=label, linewidth=1)
    worst = max(run.curve[len(run.curve) // 5][2] for runs in chosen.values() for run in runs)
    panes[0].set(xlabel="million tokens", ylabel="bits per character", ylim=(None, worst))
    if timed:
        panes[1].set(xlabel="seconds of training")
    panes[0].legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
