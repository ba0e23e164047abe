"""benchmark.py: every variant runs on a tiny model, what it writes and prints, whose turn it is. No times are compared."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tasks.benchmarking import results, running, variants
from tasks.benchmarking.meter import Meter
from tasks.errors import UserError
from tests.conftest import ROOT
from tests.helpers.ranks import finish, start_script
from tests.scripts.conftest import read_json

TRAINED = [name for name, variant in variants.TRAIN.items() if variant.method not in ("trl", "floor")]
FIGURES = {
    "useful_tokens_per_second", "completion_tokens_per_second", "steps_per_second", "peak_memory_mb", "final_loss",
    "seconds", "steps", "rows", "useful_tokens", "completion_tokens", "padding",
}  # fmt: skip


@pytest.fixture
def here(monkeypatch):
    """Runs take place in this process: importing torch again would take seconds each."""

    def start(job, folder):
        return json.loads(json.dumps(running.run(json.loads(json.dumps(job | {"floor_seconds": 0.01})))))

    monkeypatch.setattr(running, "start", start)


@pytest.fixture
def benchmark(run_script, kogpt2_folder, files, tmp_path):
    """Run a command on a task's eight rows; returns what was printed and the JSON."""

    def run(command, task, *flags, code=0):
        train, validation = files[task]
        result = run_script(
            "benchmark", command, "--task", task, "--model", kogpt2_folder, "--train_file", train,
            "--validation_file", validation, "--output_file", tmp_path / "out.json", "--repeats", 2, *flags,
        )  # fmt: skip
        assert result.code == code, result.stderr
        return result, read_json(tmp_path / "out.json")

    return run


def test_train_runs_every_variant_in_turn_over_the_same_tokens(benchmark, here):
    names = [*TRAINED, "floor"]
    result, found = benchmark(
        "train", "nli", "--variants", ",".join(names), "--warmup_steps", 0, "--rows_per_batch", 3, "--tokens_per_batch", 64
    )
    assert [(run["variant"], run["repeat"]) for run in found["runs"]] == [(name, n) for n in range(2) for name in names]
    counts = set()
    for run in found["runs"]:
        assert run["useful_tokens_per_second"] > 0
        if run["variant"] != "floor":
            assert run.keys() >= FIGURES
            counts.add(tuple(run[key] for key in ("rows", "useful_tokens", "completion_tokens")))
    assert len(counts) == 1  # eight rows once, whatever the method
    assert next(iter(counts))[0] == 8
    steps = {name: figures["steps"]["median"] for name, figures in found["variants"].items() if name != "floor"}
    assert (steps["notebook"], steps["group_by_length"], steps["ours_rows"]) == (3, 3, 1)
    for figures in found["variants"].values():
        rate = figures["useful_tokens_per_second"]
        assert rate["min"] <= rate["median"] <= rate["max"]
        assert figures["runs"] == 2
    lines = result.stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == names
    assert len({line.count("|") for line in table}) == 1
    assert table[-1].rstrip(" |").endswith("100%")  # the floor is all of itself
    assert all(f"- {name}: {variants.TRAIN[name].about}" in lines for name in names)
    assert found["machine"]["versions"].keys() >= {"torch", "transformers"}


def test_the_parts_of_our_engine_are_switched_one_by_one(benchmark, monkeypatch):
    started = []
    monkeypatch.setattr(running, "start", lambda job, folder: started.append(job) or dict.fromkeys(FIGURES, 1.0))
    benchmark("train", "qa", "--variants", ",".join(TRAINED), "--repeats", 1)
    jobs = dict(zip(TRAINED, started))
    ours = jobs["ours"]
    changed = {name: {key: value for key, value in job.items() if ours.get(key) != value} for name, job in jobs.items()}
    assert (ours["attn_implementation"], ours["tokens_per_batch"], ours["dropout"]) == (None, 4096, None)
    assert changed["ours_dropout0"] == {"dropout": 0.0}
    assert changed["ours_default"] == {"tokens_per_batch": None}
    assert changed["ours_rows"] == {"tokens_per_batch": 0}
    assert changed["ours_padding_free"] == {"padding_free": True}
    assert changed["ours_no_head"] == {"labelled_head": False}
    assert changed["ours_no_gelu"] == {"fused_gelu": False}
    assert changed["ours_sdpa"] == {"eager_on_cpu": False}
    assert jobs["group_by_length"]["attn_implementation"] is None


def test_warm_up_and_an_early_end_leave_steps_out(benchmark, here):
    flags = (
        "--rows_per_batch", 2, "--tokens_per_batch", 32, "--variants", "ours,notebook,group_by_length", "--repeats", 1,
        "--max_new_tokens", 8,
    )  # fmt: skip
    _, found = benchmark("train", "summarize", *flags, "--warmup_steps", 2, "--max_steps", 3)
    assert {run["steps"] for run in found["runs"]} == {1}
    _, found = benchmark("train", "summarize", *flags, "--warmup_steps", 1, "--max_seconds", 1e-6)
    assert {run["steps"] for run in found["runs"]} == {1}


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
def test_trl_sees_the_tokens_that_we_see(benchmark, here):
    _, found = benchmark("train", "nli", "--variants", "ours,trl,trl_no_checkpointing", "--warmup_steps", 0)
    counts = {tuple(run[key] for key in ("rows", "useful_tokens", "completion_tokens")) for run in found["runs"]}
    assert len(counts) == 1


def test_without_trl_its_variants_say_how_to_install_it(run_script, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = run_script("benchmark", "train", "--variants", "ours,trl")
    assert result.code == 2
    assert result.error.startswith("trl is not installed")
    assert "[benchmark]" in result.error


@pytest.mark.parametrize(
    ("task", "names"),
    [("nli", list(variants.INFER["nli"])), ("summarize", ["ours", "generate_batch_1", "generate_batch_16", "notebook"])],
)
def test_infer_runs_every_variant(benchmark, here, task, names):
    _, found = benchmark("infer", task, "--variants", ",".join(names), "--max_new_tokens", 5)
    assert [run["variant"] for run in found["runs"]] == names * 2
    assert all(run["rows"] == 8 and run["rows_per_second"] > 0 and run["peak_memory_mb"] > 0 for run in found["runs"])


def test_infer_row_by_row_ends_after_max_seconds_and_batches_do_not(benchmark, here):
    _, found = benchmark(
        "infer", "summarize", "--variants", "notebook,generate_batch_16", "--max_seconds", 1e-6, "--max_new_tokens", 2
    )
    rows = {name: figures["rows"]["median"] for name, figures in found["variants"].items()}
    assert rows == {"notebook": 1, "generate_batch_16": 8}


def test_prepare_counts_rows(benchmark, here):
    result, found = benchmark("prepare", "nli", "--rows", 20)
    assert [run["variant"] for run in found["runs"]] == list(variants.PREPARE) * 2
    assert {run["rows"] for run in found["runs"]} == {20}
    assert result.stdout.startswith("| variant")


def test_time_to_quality_draws_curves_from_the_same_weights(benchmark, here, tmp_path):
    result, found = benchmark(
        "train", "nli", "--time_to_quality", "--variants", "ours@0.01,notebook,group_by_length", "--num_train_epochs", 3,
        "--eval_seconds", 1e-6, "--rows_per_batch", 4, "--repeats", 1,
    )  # fmt: skip
    curves = {run["variant"]: run["curve"] for run in found["runs"]}
    assert {round(curve[0]["loss"], 4) for curve in curves.values()} == {round(curves["notebook"][0]["loss"], 4)}
    for curve in curves.values():
        assert curve[0]["step"] == 0
        assert [point["seconds"] for point in curve] == sorted(point["seconds"] for point in curve)
    assert [point["step"] for point in curves["ours@0.01"]] == [0, 1, 2, 3]
    assert [point["step"] for point in curves["notebook"]] == list(range(7))
    assert curves["ours@0.01"][-1]["loss"] < curves["ours@0.01"][0]["loss"]
    compared = found["quality"]
    assert compared["target_of"] in ("notebook", "group_by_length")
    assert set(compared["variants"]) == set(curves)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert f"where {compared['target_of']} ends" in result.stdout


def test_beside_what_is_no_file_nothing_is_written(run_script, kogpt2_folder, files, monkeypatch, tmp_path):
    pipe, curve = tmp_path / "pipe", [{"step": 0, "seconds": 0.0, "loss": 2.0}, {"step": 1, "seconds": 1.0, "loss": 1.0}]
    os.mkfifo(pipe)
    runs = [{"variant": name, "curve": curve, "seconds": 1.0} for name in ("ours", "notebook")]
    monkeypatch.setattr(running, "run_all", lambda *args: runs)
    monkeypatch.setattr(results, "summarize", lambda runs: {})
    monkeypatch.setattr(results, "table", lambda *args: "")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    train, validation = files["nli"]
    found = run_script(
        "benchmark", "train", "--task", "nli", "--model", kogpt2_folder, "--train_file", train,
        "--validation_file", validation, "--output_file", pipe, "--time_to_quality",
        "--max_seconds", 1, "--variants", "ours,notebook",
    )  # fmt: skip
    assert found.code == 0, found.stderr
    assert json.loads(os.read(reader, 1 << 20))["runs"] == runs
    os.close(reader)
    assert [path.name for path in tmp_path.iterdir() if "pipe" in path.name or path.suffix == ".png"] == ["pipe"]


def test_an_empty_model_of_a_size_with_anothers_tokenizer(run_script, kogpt2_folder, files, here, tmp_path):
    result = run_script(
        "benchmark", "train", "--random_model", "mini", "--tokenizer", kogpt2_folder, "--train_file", files["nli"][0],
        "--variants", "ours", "--warmup_steps", 0, "--repeats", 1,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert read_json(tmp_path / "outputs" / "benchmark-train-nli.json")["model"] == "empty GPT-2 mini"


def test_a_failed_run_is_named_and_the_others_go_on(benchmark, here, monkeypatch):
    start = running.start
    monkeypatch.setattr(
        running,
        "start",
        lambda job, folder: {"failed": "out of memory"} if job["method"] == "notebook" else start(job, folder),
    )
    result, found = benchmark("train", "nli", "--variants", "notebook,ours", "--warmup_steps", 0, code=2)
    assert [run["variant"] for run in found["runs"]] == ["notebook", "ours", "ours"]  # not tried again
    assert found["variants"]["notebook"] == {"runs": 0, "failed": "out of memory"}
    assert "notebook: out of memory" in result.error
    assert "- notebook: failed (good runs: 0): out of memory" in result.stdout


def test_each_run_is_a_process_that_fails_alone(benchmark, tmp_path):
    """Real processes: one that works, one that gets no memory and says so."""
    flags = ("--repeats", 1, "--rows", 5, "--variants", "bare")
    _, found = benchmark("prepare", "nli", *flags)
    assert found["runs"][0]["rows"] == 5
    result, found = benchmark("prepare", "nli", *flags, "--max_memory_gb", 0.05, code=2)
    assert "1 of the variants failed (bare: " in result.error
    assert found["runs"][0].keys() == {"variant", "repeat", "failed"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGTERM")
def test_sigterm_ends_the_run_with_the_benchmark(kogpt2_folder, files, tmp_path):
    """Also what the run has started: processes that prepare rows."""
    process = start_script(
        tmp_path, "benchmark", "prepare", "--model", kogpt2_folder, "--train_file", files["nli"][0], "--variants", "bare",
        "--rows", 10**7, "--preprocessing_num_workers", 2, "--output_file", "out.json",
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while len(started := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert process.is_alive() and time.monotonic() < deadline, (tmp_path / "stderr").read_text("utf-8")
        time.sleep(0.1)
    process.terminate()
    assert finish(process, 60) == 143, (tmp_path / "stderr").read_text("utf-8")
    assert psutil.wait_procs(started, 10)[1] == []
    assert "error: ended by SIGTERM" in (tmp_path / "stderr").read_text("utf-8")
    assert not (tmp_path / "out.json").exists()


def test_a_run_that_is_all_warm_up_says_what_to_change():
    meter = Meter(warmup_steps=2, max_seconds=None)
    meter.begin()
    assert not meter.step()
    with pytest.raises(UserError, match="all 1 steps of the run were warm-up; give more rows"):
        meter.result()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["trian"], "trian: no such command; take one of train, infer, prepare"),
        (["train", "--variants", "ourz"], "did you mean ours?"),
        (["train", "--variants", "ours,ours"], "--variants ours: named twice"),
        (["train", "--variants", "ours@fast"], "'fast' is not a learning rate"),
        (["infer", "--variants", "ours@1e-3"], "only what is trained has a learning rate"),
        (["infer", "--task", "qa"], "infer measures nli, summarize"),
        (["infer", "--time_to_quality", "--max_seconds", "1"], "--time_to_quality is for train, not for infer"),
        (["train", "--time_to_quality"], "needs an end"),
        (["train", "--random_model", "small"], "--random_model needs --tokenizer"),
        (["train", "--max_steps", "1"], "is all warm-up"),
        (["train", "--repeats", "0"], "--repeats is 0"),
        (["prepare", "--train_file", "gone.jsonl"], "gone.jsonl"),
    ],
)
def test_mistakes_end_with_one_line(run_script, kogpt2_folder, flags, said):
    result = run_script("benchmark", *flags, "--model", kogpt2_folder)
    assert result.code == 2
    assert said in result.error


def test_the_peak_of_a_process_is_its_own():
    """``ru_maxrss`` would begin with what this one holds: more than an interpreter without torch needs."""
    command = [sys.executable, "-c", "from tasks.benchmarking.running import peak_memory_mb; print(peak_memory_mb())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) < running.peak_memory_mb()


CURVE = [{"seconds": 0, "step": 0, "loss": 4}, {"seconds": 10, "step": 1, "loss": 2}, {"seconds": 20, "step": 2, "loss": 3}]


@pytest.mark.parametrize(("loss", "seconds"), [(5, 0), (4, 0), (3, 5), (2.5, 7.5), (2, 10), (1.9, None)])
def test_seconds_to_a_loss_are_read_off_the_curve(loss, seconds):
    assert results.seconds_to(CURVE, loss) == seconds


def test_the_target_is_where_the_slowest_peer_ends():
    def run(variant, *losses):
        curve = [{"seconds": 10.0 * n, "step": n, "loss": loss} for n, loss in enumerate(losses)]
        return {"variant": variant, "curve": curve}

    found = results.compare([run("ours", 4, 2, 1), run("trl", 4, 3.5, 3), run("notebook", 4, 4, 3.8), run("ours", 4, 1, 1)])
    assert (found["target_of"], found["target_loss"]) == ("notebook", 3.8)
    assert found["variants"]["notebook"]["seconds_to_target"] == 20
    assert found["variants"]["ours"]["seconds_to_target"] == pytest.approx(2 / 3)
    assert found["variants"]["trl"]["seconds_to_target"] == pytest.approx(4)
    assert results.compare([{"variant": "trl", "failed": "no memory"}]) == {}


def test_medians_and_spread():
    runs = [{"variant": "ours", "repeat": n, "seconds": value, "curve": []} for n, value in enumerate([3.0, 1.0, 2.0])]
    assert results.summarize(runs) == {"ours": {"runs": 3, "seconds": {"median": 2.0, "min": 1.0, "max": 3.0}}}


@pytest.mark.parametrize(("code", "stderr", "said"), [
    (-9, "", "killed, most likely by the kernel for want of memory"),
    (-11, "", "ended by SIGSEGV"),
    (-6, "terminate called after throwing an instance of 'std::bad_alloc'", "out of memory: ended by SIGABRT"),
    (2, "warning\nerror: no such file\nmore", "no such file"),
    (1, "Traceback\nRuntimeError: DefaultCPUAllocator: can't allocate memory: 5 bytes", "out of memory: RuntimeError: Def"),
    (1, "", "exit code 1"),
])  # fmt: skip
def test_why_a_process_ended(code, stderr, said):
    assert running.reason(code, stderr).startswith(said)


def test_every_default_is_a_variant():
    for quality_too in (False, True):
        try:
            assert "ours" in variants.choose("train", "nli", None, quality_too)
        except UserError as error:  # only where it is not installed
            assert "trl" in str(error)
    assert set(variants.DEFAULT_QUALITY) | set(variants.DEFAULT_TRAIN) <= set(variants.TRAIN)
