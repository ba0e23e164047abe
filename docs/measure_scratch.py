"""Measure run_scratch.py: bits per character against tokens and seconds, of each architecture with each optimizer.

python docs/measure_scratch.py --train_file train.jsonl --validation_file validation.jsonl --rates 1e-3 2e-3 4e-3 \\
    --output_dir outputs/measure --seeds 1 2 3 -- --model_size mini --vocab_size 8000 --n_positions 512 \\
    --tokens_per_batch 8192 --max_steps 2000

What follows -- goes to run_scratch.py. Each variant is run with each rate and the first seed, then with its best rate and
the other seeds, then all but the first variant with --share of the steps. A run that is finished is not run again, so the
same command continues. The figures are read from all_results.json and trainer_state.json. Runs that share a device slow
each other, so with more --jobs than one a last, short run of each variant alone tells its tokens a second. Evaluations are
left out of seconds.
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
    """A finished run: its final bits per character, (tokens, bits per character) of each evaluation, tokens a second."""

    bits: float
    curve: list[tuple[float, float]]
    speed: float

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in ``folder``."""
        results = json.loads((folder / "all_results.json").read_text("utf-8"))
        history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
        an_epoch = results["counts"]["train"]["tokens"]
        # The loss is per token of the same texts, so both measures of a run differ by one factor.
        factor = results["bits_per_character"] / results["eval_loss"]
        curve = [(e["epoch"] * an_epoch, e["eval_loss"] * factor) for e in history if "eval_loss" in e]
        speeds = [entry["tokens_per_second"] for entry in history if "loss" in entry]
        return cls(results["bits_per_character"], curve, statistics.median(speeds))

    def reaches(self, bits: float) -> float | None:
        """The tokens at which the curve falls to ``bits``, between evaluations on a straight line; None: never."""
        before = None
        for tokens, here in self.curve:
            if here <= bits:
                if before is None or before[1] == here:
                    return tokens
                return before[0] + (before[1] - bits) / (before[1] - here) * (tokens - before[0])
            before = (tokens, here)
        return None


def read_arguments() -> tuple[argparse.Namespace, list[str]]:
    """This program's arguments, among them ``steps``, and those that follow -- for run_scratch.py."""
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
    args.steps = int(passed[passed.index("--max_steps") + 1])
    return args, passed


def main() -> None:
    """All runs, then table and plot."""
    args, passed = read_arguments()
    steps = args.steps

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
    if args.jobs > 1:
        short_alone = max(steps // 5, args.evaluations)
        speeds = {v: run((v, best[v], args.seeds[0], short_alone)).speed for v in args.variants}
    else:
        speeds = {v: runs[v, best[v], args.seeds[0], steps].speed for v in args.variants}
    chosen = {v: [runs[v, best[v], seed, steps] for seed in args.seeds] for v in args.variants}
    shorter = {v: [runs[v, best[v], seed, short] for seed in args.seeds] for v in args.variants[1:]} if short else {}
    text = "\n".join([*rates_table(tried), "", *table(chosen, shorter, best, args.share, speeds)])
    (args.output_dir / "table.md").write_text(text + "\n", "utf-8")
    print(text)
    plot(chosen, args.output_dir / "scratch.png", speeds)


def rates_table(tried: dict[tuple[str, str, str, int], Run]) -> list[str]:
    """Markdown: final bits per character of the first seed for each variant and rate."""
    rates = list(dict.fromkeys(rate for _, rate, *_ in tried))
    bits = {(variant, rate): run.bits for (variant, rate, *_), run in tried.items()}
    rows = [[v, *(f"{bits[v, rate]:.3f}" for rate in rates)] for v in dict.fromkeys(v for v, _ in bits)]
    return markdown(["rate", *rates], rows)


def table(
    chosen: dict[str, list[Run]],
    shorter: dict[str, list[Run]],
    best: dict[str, str],
    share: float,
    speeds: dict[str, float],
) -> list[str]:
    """Markdown: each variant's bits per character, and the tokens and seconds in which it reaches the first's final ones."""
    goal = statistics.mean(run.bits for run in next(iter(chosen.values())))
    whole = statistics.mean(run.curve[-1][0] for run in next(iter(chosen.values())))
    rows = []
    for variant, runs in chosen.items():
        met = [run.reaches(goal) for run in runs]
        row = [variant, best[variant], spread(runs), spread(shorter.get(variant, []))]
        if None in met:  # one that never gets there leaves the cells empty
            row += ["", f"{speeds[variant]:,.0f}", ""]
        else:
            tokens = statistics.mean(met)
            row += [
                f"{tokens / 1e6:.2f} M ({tokens / whole:.0%})",
                f"{speeds[variant]:,.0f}",
                f"{tokens / speeds[variant]:.0f}",
            ]
        rows.append(row)
    short = f"with {share:.0%} of the steps" if shorter else ""
    head = ["", "rate", "bits per character", short, f"tokens to {goal:.3f}", "tokens/s", f"seconds to {goal:.3f}"]
    return markdown(head, rows)


def spread(runs: list[Run]) -> str:
    """The mean, and the range where there are several."""
    bits = [run.bits for run in runs]
    if len(bits) < 2:
        return "".join(f"{value:.3f}" for value in bits)
    return f"{statistics.mean(bits):.3f} ({min(bits):.3f} to {max(bits):.3f})"


def markdown(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def plot(chosen: dict[str, list[Run]], path: Path, speeds: dict[str, float]) -> None:
    """Bits per character against tokens and against seconds of training, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")  # no screen needed
    import matplotlib.pyplot as plt

    figure, panes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for number, (variant, runs) in enumerate(chosen.items()):
        for pane, unit in zip(panes, (1e6, speeds[variant])):
            for run in runs:
                label = variant if run is runs[0] else None
                tokens, bits = zip(*run.curve)
                pane.plot([count / unit for count in tokens], bits, color=f"C{number}", label=label, linewidth=1)
    worst = max(run.curve[len(run.curve) // 5][1] for runs in chosen.values() for run in runs)
    panes[0].set(xlabel="million tokens", ylabel="bits per character", ylim=(None, worst))
    panes[1].set(xlabel="seconds of training")
    panes[0].legend()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
