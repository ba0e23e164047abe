"""``scale``: memory against the size of a corpus, a cold start against a warm one, one process against two."""

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
from tasks.arguments.data import DataArguments
from tasks.benchmarking import running
from tasks.benchmarking.arguments import BenchmarkArguments
from tasks.benchmarking.workspace import MODEL, Workspace
from tasks.errors import UserError
from tasks.run_folder import RESULTS_FILE

SCRIPTS = Path(tasks.__file__).parent.parent / "scripts"

#: The tasks whose memory is measured on every corpus.
STREAMED = ("generate", "scratch")

#: Files of a corpus: with streaming each process may read its own.
SHARDS = 4

#: Bytes of a row of a made corpus, about.
ROW_BYTES = 500

#: Flags of the runs that are measured: as little beside training as possible.
QUIET = (
    "--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "true", "--num_samples", "0",
    "--max_eval_samples", "16", "--max_new_tokens", "8",
)  # fmt: skip


def run_all(common: dict[str, Any], args: BenchmarkArguments) -> list[dict[str, Any]]:
    """Make the corpora and run everything, as ``running.run_all`` does. ``common`` is what all jobs share."""
    folder = Path(common["folder"])
    runs = []
    for size in args.corpus_sizes:  # one after another: the largest may be all that the disk holds
        given = common | {"corpus": make_corpus(folder / "corpus", size, args.seed), "megabytes": size}
        runs += running.run_all({f"{name}_{size:g}mb": given | {"method": name} for name in STREAMED}, 1, folder)
    given = common | {"corpus": make_corpus(folder / "corpus", args.rows * ROW_BYTES / 1e6, args.seed)}
    jobs = {method: given | {"method": method} for method in ("cold_start", "warm_start")}
    jobs |= {f"processes_{n}": given | {"method": "torchrun", "number": n} for n in (1, 2)}
    return runs + running.run_all(jobs, args.repeats, folder)


def ratios(summary: dict[str, dict[str, Any]], sizes: list[float]) -> dict[str, float]:
    """Memory of each corpus to that of the smallest, cold start to warm start, two processes to one."""
    pairs = [
        *((f"{name}_{size:g}mb", f"{name}_{sizes[0]:g}mb", "peak_memory_mb") for name in STREAMED for size in sizes[1:]),
        ("cold_start", "warm_start", "seconds"),
        ("processes_2", "processes_1", "useful_tokens_per_second"),
    ]
    return {
        f"{name} / {other}: {figure}": summary[name][figure]["median"] / summary[other][figure]["median"]
        for name, other, figure in pairs
        if figure in summary[name] and figure in summary[other]
    }


def make_corpus(folder: Path, megabytes: float, seed: int) -> str:
    """Write ``megabytes`` (1e6 bytes) of made text, one a line, into a few files, over those of the last one; their glob.

    Paragraphs of sentences of 20,000 words, with frequent and rare ones. Real text never stops bringing new words: the table
    of words of a tokenizer in training grows with them, not with the bytes.
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
                count = min(1000, int(left / ROW_BYTES) + 1)
                lines = "".join(" ".join(generator.choices(sentences, k=8)) + "\n" for _ in range(count))
                left -= len(lines.encode())
                file.write(lines)
    return str(folder / "*.txt")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of one job."""
    return METHODS[job["method"]](job)


def _flags(job: dict[str, Any]) -> list[str]:
    """What all scripts are given; --output_dir comes first."""
    return [
        "--output_dir", tempfile.mkdtemp(dir=job["folder"]), "--train_file", job["corpus"], "--max_steps",
        str(job["max_steps"]), "--max_length", str(job["max_length"]), *QUIET,
    ]  # fmt: skip


def _streamed(job: dict[str, Any]) -> dict[str, Any]:
    """The script itself in this process, so that the peak of memory is its own. Large batches would hide what rows take."""
    if job["method"] == "generate":
        flags = ["--model", str(Path(job["folder"]) / MODEL)]
    else:  # the tokenizer reads every byte of the corpus before the first step
        flags = [
            "--model_size",
            "mini",
            "--vocab_size",
            "8000",
            "--n_positions",
            str(job["max_length"]),
            "--overwrite_cache",
        ]
    for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "generation_batch_size"):
        flags += [f"--{name}", "2"]
    sys.argv = [str(SCRIPTS / f"run_{job['method']}.py"), *_flags(job), "--streaming", *flags]
    started = time.perf_counter()
    runpy.run_path(sys.argv[0], run_name="__main__")
    return running.memory_figures() | {"seconds": time.perf_counter() - started, "megabytes": job["megabytes"]}


def _start(job: dict[str, Any]) -> dict[str, Any]:
    """From the command line's flags to token ids that can be trained on."""
    import datasets

    from tasks.preparing.run_data import RunData

    datasets.config.HF_DATASETS_CACHE = Path(job["folder"]) / "cache"
    work = Workspace(job)
    data_args = DataArguments(
        train_file=job["corpus"],
        max_eval_samples=16,
        preprocessing_num_workers=job["processes"],
        overwrite_cache=job["method"] == "cold_start",
    )
    started = time.perf_counter()
    data = RunData(work.task, data_args, SimpleNamespace(seed=job["seed"]), ("train", "validation"))
    found, _, _ = data.encode(work.encoder)
    seconds = time.perf_counter() - started
    return running.memory_figures() | {"seconds": seconds, "rows": len(found["train"])}


def _torchrun(job: dict[str, Any]) -> dict[str, Any]:
    """The script under torchrun on the processor, one thread a process."""
    flags = _flags(job)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(job["number"]),
        str(SCRIPTS / "run_generate.py"), *flags, "--model", str(Path(job["folder"]) / MODEL), "--use_cpu", "true",
        "--max_train_samples", "2000",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(Path(job["folder"]) / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    results = Path(flags[1]) / RESULTS_FILE
    if done.returncode != 0 or not results.exists():
        raise UserError(running.reason(done.returncode, done.stderr))
    figures = json.loads(results.read_text("utf-8"))
    return {"useful_tokens_per_second": figures["train_tokens_per_second"], "seconds": figures["train_runtime"]}


METHODS = dict.fromkeys(STREAMED, _streamed) | {"cold_start": _start, "warm_start": _start, "torchrun": _torchrun}
