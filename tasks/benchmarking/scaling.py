"""``scale``: memory against the size of a corpus, a first start against a second, one process against two."""

from __future__ import annotations

import itertools
import json
import os
import random
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tasks
from tasks.benchmarking import machine, report, running
from tasks.benchmarking.arguments import BenchmarkArguments
from tasks.benchmarking.workspace import MODEL, save_model
from tasks.errors import UserError
from tasks.run_folder import RESULTS_FILE, write_json
from tasks.training.arguments import ModelArguments
from tasks.training.data_arguments import DataArguments

SCRIPTS = Path(tasks.__file__).parent.parent / "scripts"

#: Files of a corpus: with streaming each process may read its own.
SHARDS = 4

#: Flags of the runs that are measured: as little beside training as possible.
QUIET = (
    "--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "true", "--num_samples", "0",
    "--max_eval_samples", "16", "--max_new_tokens", "8",
)  # fmt: skip


def measure(args: BenchmarkArguments, data_args: DataArguments, model_args: ModelArguments, output: Path) -> None:
    """Make the corpora, run everything in processes of their own, write and print the figures as ratios."""
    sizes = corpus_sizes(args.corpus_mb)
    if not SCRIPTS.is_dir():
        raise UserError(f"{SCRIPTS} is not there, and scale measures its scripts; install the checkout: pip install -e .")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        length = _save(folder / MODEL, args, data_args, model_args)
        common = {
            "command": "scale", "folder": name, "seed": args.seed, "max_steps": args.max_steps or 20, "max_length": length,
            "max_memory_gb": args.max_memory_gb, "processes": data_args.preprocessing_num_workers,
        }  # fmt: skip
        runs = []
        for size in sizes:  # one after another, since the largest may be all that the disk holds
            corpus = make_corpus(folder / "corpus", size, args.seed)
            jobs = {f"{way}_{size:g}mb": common | {"way": way, "corpus": corpus, "megabytes": size} for way in STREAMED}
            runs += running.run_all(jobs, 1, folder)
        corpus = make_corpus(folder / "corpus", args.rows * ROW_BYTES / 1e6, args.seed)
        jobs = {way: common | {"way": way, "corpus": corpus} for way in ("cold_start", "warm_start")}
        jobs |= {f"processes_{n}": common | {"way": "torchrun", "corpus": corpus, "number": n} for n in (1, 2)}
        runs += running.run_all(jobs, args.repeats or 3, folder)

    summary = running.summarize(runs, list(dict.fromkeys(run["variant"] for run in runs)))
    results = {
        "command": "scale",
        "model": f"empty GPT-2 {args.random_model}" if args.random_model else Path(model_args.model).name,
        "settings": {key: value for key, value in common.items() if key not in ("command", "folder")},
        "machine": machine.describe(),
        "variants": summary,
        "ratios": ratios(summary, sizes),
        "runs": runs,
    }
    write_json(output, results)
    print(report.scale_table(summary, results["ratios"]))
    print(f"\nevery run is in {output}")
    failed = {label: figures["failed"] for label, figures in summary.items() if "failed" in figures}
    if failed:
        raise UserError(f"{len(failed)} of the runs failed ({'; '.join(f'{k}: {v}' for k, v in failed.items())})")


def corpus_sizes(text: str) -> list[float]:
    """``20,200,2000`` as numbers, the smallest first. Raises UserError on anything else."""
    try:
        sizes = sorted(float(piece) for piece in text.split(","))
    except ValueError:
        sizes = []
    if not sizes or sizes[0] <= 0:
        raise UserError(f"--corpus_mb {text}: give megabytes with commas, such as 20,200,2000")
    return sizes


def ratios(summary: dict[str, dict[str, Any]], sizes: list[float]) -> dict[str, float]:
    """Memory of each corpus to that of the smallest, cold start to warm start, two processes to one."""
    found = {}

    def add(name: str, figure: str, other: str) -> None:
        if figure in summary[name] and figure in summary[other]:
            found[f"{name} / {other}: {figure}"] = summary[name][figure]["median"] / summary[other][figure]["median"]

    for way in STREAMED:
        for size in sizes[1:]:
            add(f"{way}_{size:g}mb", "peak_memory_mb", f"{way}_{sizes[0]:g}mb")
    add("cold_start", "seconds", "warm_start")
    add("processes_2", "useful_tokens_per_second", "processes_1")
    return found


#: Bytes of a row of a made corpus, about.
ROW_BYTES = 500


def make_corpus(folder: Path, megabytes: float, seed: int) -> str:
    """Write ``megabytes`` (1e6 bytes) of made text, one a line, into a few files in place of what is there; their glob.

    Paragraphs of sentences of 20,000 words, the frequent ones often. Real text goes on to bring new words: the table of
    words of a tokenizer in training grows with them, not with the bytes.
    """
    generator = random.Random(seed)
    syllables = [chr(code) for code in range(ord("가"), ord("힣"), 28)]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(20_000)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    sentences = [" ".join(generator.choices(words, cum_weights=weights, k=8)) + "." for _ in range(20_000)]
    folder.mkdir(exist_ok=True)
    for number in range(SHARDS):
        left = megabytes * 1e6 / SHARDS
        with open(folder / f"{number}.txt", "w", encoding="utf-8") as file:
            while left > 0:
                lines = "".join(
                    " ".join(generator.choices(sentences, k=8)) + "\n" for _ in range(min(1000, int(left / 500) + 1))
                )
                left -= len(lines.encode())
                file.write(lines)
    return str(folder / "*.txt")


def _save(folder: Path, args: BenchmarkArguments, data_args: DataArguments, model_args: ModelArguments) -> int:
    """Write model and tokenizer of all runs; returns the length of their sequences."""
    from tasks.training.encoding import sequence_length
    from tasks.training.modeling import load_config
    from tasks.training.tokenization import load_tokenizer, make_portable

    if args.random_model:
        model_args.model = args.tokenizer
    tokenizer = load_tokenizer(model_args, load_config(model_args))
    save_model(folder, args, model_args, tokenizer, [])
    tokenizer.save_pretrained(folder)
    make_portable(folder)
    return min(sequence_length(data_args.max_length, tokenizer), 256)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of one job."""
    return WAYS[job["way"]](job)


def _flags(job: dict[str, Any]) -> list[str]:
    """What all runs are told."""
    output = tempfile.mkdtemp(dir=job["folder"])
    return [
        "--train_file", job["corpus"], "--output_dir", output, "--max_steps", str(job["max_steps"]), "--max_length",
        str(job["max_length"]), *QUIET,
    ]  # fmt: skip


def _streamed(job: dict[str, Any], script: str, *flags: str) -> dict[str, Any]:
    """The script itself in this process, whose peak of memory is then its own. Small batches do not hide the rows' part."""
    small = ("--per_device_train_batch_size", "2", "--per_device_eval_batch_size", "2", "--generation_batch_size", "2")
    sys.argv = [str(SCRIPTS / script), *_flags(job), "--streaming", *small, *flags]
    started = time.perf_counter()
    runpy.run_path(sys.argv[0], run_name="__main__")
    return machine.memory_figures() | {"seconds": time.perf_counter() - started, "megabytes": job["megabytes"]}


def _generate(job: dict[str, Any]) -> dict[str, Any]:
    return _streamed(job, "run_generate.py", "--model", str(Path(job["folder"]) / MODEL))


def _scratch(job: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer reads every byte of the corpus before the first step."""
    length = str(job["max_length"])
    return _streamed(
        job, "run_scratch.py", "--model_size", "mini", "--vocab_size", "8000", "--n_positions", length, "--overwrite_cache"
    )


def _start(job: dict[str, Any]) -> dict[str, Any]:
    """From the command line's flags to token ids that can be trained on."""
    import datasets

    from tasks import get_task
    from tasks.training.encoding import Encoder
    from tasks.training.modeling import load_config
    from tasks.training.preparing import RunData
    from tasks.training.tokenization import load_tokenizer

    datasets.config.HF_DATASETS_CACHE = Path(job["folder"]) / "cache"
    arguments = ModelArguments(model=str(Path(job["folder"]) / MODEL))
    encoder = Encoder(load_tokenizer(arguments, load_config(arguments)), job["max_length"], 8)
    data_args = DataArguments(
        train_file=job["corpus"],
        max_eval_samples=16,
        preprocessing_num_workers=job["processes"],
        overwrite_cache=job["way"] == "cold_start",
    )
    started = time.perf_counter()
    data = RunData(get_task("generate"), data_args, SimpleNamespace(seed=job["seed"]), ("train", "validation"))
    found, _, _ = data.encode(encoder)
    seconds = time.perf_counter() - started
    return machine.memory_figures() | {"seconds": seconds, "rows": len(found["train"])}


def _torchrun(job: dict[str, Any]) -> dict[str, Any]:
    """The script under torchrun on the processor, one thread a process."""
    flags = _flags(job)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(job["number"]),
        str(SCRIPTS / "run_generate.py"), "--model", str(Path(job["folder"]) / MODEL), *flags, "--use_cpu", "true",
        "--max_train_samples", "2000",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(Path(job["folder"]) / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    results = Path(flags[flags.index("--output_dir") + 1]) / RESULTS_FILE
    if done.returncode != 0 or not results.exists():
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise UserError((lines or done.stderr.splitlines() or ["no output"])[-1].removeprefix("error: "))
    figures = json.loads(results.read_text("utf-8"))
    return {"useful_tokens_per_second": figures["train_tokens_per_second"], "seconds": figures["train_runtime"]}


STREAMED = {"generate": _generate, "scratch": _scratch}
WAYS = STREAMED | {"cold_start": _start, "warm_start": _start, "torchrun": _torchrun}
