"""Searching settings: ranges, rows that are held out, trials as processes, a study that goes on."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec

import pytest

from tasks.run_folder import write_json
from tasks.showing import searching
from tests.scripts.conftest import ROWS, read_json, read_jsonl

pytestmark = pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")


def value_of(flags: dict[str, str]) -> float:
    """An accuracy that is best at a rate of 1e-4, and differs a little between seeds."""
    import math

    return 0.9 - 0.1 * abs(math.log10(float(flags["learning_rate"])) + 4) - 0.001 * (int(flags["seed"]) - 42)


@pytest.fixture
def runs(monkeypatch):
    """The commands that were run, by folder; nothing is trained. ``runs.fail`` ends the trial of that number by Ctrl-C."""

    class Runs(dict):
        fail = None

    commands = Runs()

    def fake(command, folder, metric, goes_on, keep=False):
        flags = dict(zip(command[2::2], command[3::2]))
        flags = {name.removeprefix("--"): value for name, value in flags.items()}
        if folder.name == commands.fail:
            raise KeyboardInterrupt
        commands[folder.name] = flags
        value = value_of(flags)
        folder.mkdir(exist_ok=True)
        if not goes_on(value):
            return None
        test = {"test_accuracy": value - 0.1} if "test_file" in flags else {}
        write_json(folder / "all_results.json", {"task": "nli", "accuracy": value, **test})
        return value

    monkeypatch.setattr(searching, "run", fake)
    return commands


@pytest.fixture
def command(kogpt2_folder, files):
    train, validation = files["nli"]
    return (
        "search", "nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation,
        "--learning_rate", "1e-5..1e-2", "--output_dir", "study",
    )  # fmt: skip


def test_a_search(run_script, tmp_path, runs, command):
    result = run_script(*command, "--trials", 12, "--seeds", 2, "--num_train_epochs", "1..3")
    assert result.code == 0, result.stderr
    trials = {name: flags for name, flags in runs.items() if name.startswith("trial-")}
    assert list(trials) == [f"trial-{n:03}" for n in range(12)]
    assert all(1e-5 <= float(flags["learning_rate"]) <= 1e-2 for flags in trials.values())
    assert {flags["num_train_epochs"] for flags in trials.values()} <= {"1", "2", "3"}
    assert {flags["metric_for_best_model"] for flags in trials.values()} == {"accuracy"}
    assert not any("test_file" in flags for flags in trials.values())
    assert 0 < result.stdout.count(": stopped (") == result.stdout.count("| stopped |")
    best = max(trials.values(), key=value_of)
    last = [runs["best-seed-42"], runs["best-seed-43"]]
    assert [flags["learning_rate"] for flags in last] == [best["learning_rate"]] * 2
    assert [flags["test_file"] for flags in last] == ["study/test.jsonl"] * 2
    report = (tmp_path / "study" / "report.md").read_text("utf-8")
    top = value_of(best)
    assert f"{top:.4f} is the best of 12 trials on the rows that chose it, and optimistic" in report
    assert f"| validation | accuracy | {top - 0.0005:.4f} | 0.0007 | {top:.4f}, {top - 0.001:.4f} |" in report
    assert f"| test | accuracy | {top - 0.1005:.4f} | 0.0007 | {top - 0.1:.4f}, {top - 0.101:.4f} |" in report


def test_the_search_does_not_see_the_test_rows(run_script, tmp_path, runs, command):
    run_script(*command, "--trials", 1, "--seeds", 1)
    rows = {split: read_jsonl(tmp_path / "study" / f"{split}.jsonl") for split in ("train", "validation", "test")}
    assert [len(part) for part in rows.values()] == [8, 4, 4]
    seen, unseen = ({row["premise"] for row in rows[split]} for split in ("validation", "test"))
    assert not seen & unseen and seen | unseen == {row["premise"] for row in ROWS["nli"]}
    assert set(rows["test"][0]) == {"id", "premise", "hypothesis", "label"}
    flags = runs["trial-000"]
    assert (flags["train_file"], flags["validation_file"]) == ("study/train.jsonl", "study/validation.jsonl")
    assert flags["column_map"] == "premise=premise,hypothesis=hypothesis,label=label"


def test_one_validation_row_cannot_be_halved(run_script, runs, command):
    result = run_script(*command, "--max_eval_samples", 1)
    assert result.code == 2 and "give more, or --test_file" in result.error


def test_a_test_file_is_kept_for_the_end(run_script, tmp_path, runs, command, files):
    train, validation = files["nli"]
    result = run_script(*command, "--trials", 1, "--seeds", 1, "--test_file", validation)
    assert result.code == 0, result.stderr
    assert "test_file" not in runs["trial-000"] and runs["best-seed-42"]["test_file"] == validation
    assert runs["trial-000"]["train_file"] == train
    assert not (tmp_path / "study" / "test.jsonl").exists()


def test_an_interrupted_study_goes_on(run_script, tmp_path, runs, command):
    runs.fail = "trial-001"
    result = run_script(*command, "--trials", 3, "--seeds", 1)
    assert result.code == 130 and "the study is kept in study, and the same command goes on" in result.error
    drawn = runs["trial-000"]
    runs.fail = None
    runs.clear()
    result = run_script(*command, "--trials", 3, "--seeds", 1)
    assert result.code == 0, result.stderr
    assert list(runs) == ["trial-001", "trial-002", "best-seed-42"]
    assert drawn["learning_rate"] not in {runs["trial-001"]["learning_rate"], runs["trial-002"]["learning_rate"]}
    assert "| 0 |" in result.stdout


def test_a_study_of_other_flags_is_not_mixed(run_script, runs, command):
    run_script(*command, "--trials", 1, "--seeds", 1)
    result = run_script(*command, "--trials", 1, "--seeds", 1, "--weight_decay", "0,0.1")
    assert result.code == 2 and result.error.startswith("--output_dir study holds a study with other flags (--model ")


@pytest.mark.parametrize(
    "words, error",
    [
        (("nli", "--sample_data"), "no flag has a range to search; give one, such as --learning_rate 1e-5..1e-3"),
        (("nli", "--learning_rate", "1e-3..1e-5"), "--learning_rate 1e-3..1e-5: the first number has to be the lower one"),
        (("nlii", "--learning_rate", "1e-5..1e-3"), "unknown task 'nlii'"),
        (("nli", "--learning_rat", "1e-5..1e-3"), "unknown argument --learning_rat; did you mean --learning_rate?"),
        (("nli", "--weight_decay", "0,0.1", "--metric_for_best_model", "f1"), "--metric_for_best_model f1: nli measures"),
        (("nli", "--learning_rate", "1e-5..1e-3", "--push_to_hub"), "--push_to_hub would publish every trial"),
        (("nli", "--learning_rate", "1e-5..1e-3", "--trials", 0), "--trials is 0; it must be 1 or more"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_started(run_script, tmp_path, runs, words, error):
    result = run_script("search", *words)
    assert result.code == 2 and error in result.error
    assert not runs and not list(tmp_path.iterdir())


def test_ranges_and_choices():
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    flags = searching.read_flags(
        ["--learning_rate", "1e-5..1e-3", "--weight_decay=0..0.1", "--num_train_epochs", "2..5", "--lora_r", "4..64",
         "--warmup_steps", "0,0.1", "--column_map", "premise=a,hypothesis=b", "--train_file", "../data/rows.csv", "--bf16"]
    )  # fmt: skip
    assert searching.space_of(flags) == {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "weight_decay": FloatDistribution(0.0, 0.1),
        "num_train_epochs": IntDistribution(2, 5),
        "lora_r": IntDistribution(4, 64, log=True),
        "warmup_steps": CategoricalDistribution(("0", "0.1")),
    }
    assert searching.as_words({"bf16": [], "learning_rate": [0.5]}) == ["--bf16", "--learning_rate", "0.5"]


# A run as a process


def program(folder, lines, code=0, finished=True, wait=0):
    """A process that prints ``lines``, leaves a run in ``folder``, waits, and ends with ``code``."""
    text = f"""
import json, pathlib, sys, time
folder = pathlib.Path({str(folder)!r})
folder.mkdir(exist_ok=True)
(folder / "checkpoint-1").mkdir(exist_ok=True)
for line in {lines!r}:
    print(line, flush=True)
time.sleep({wait})
(folder / "all_results.json").write_text('{{"accuracy": 0.5, "eval_loss": 1.5}}')
(folder / "run.json").write_text('{{"finished": {str(finished).lower()}}}')
(folder / "model.safetensors").write_text("")
sys.exit({code})
"""
    return [sys.executable, "-c", text]


LINES = [
    "step 1/2  loss 2.0",
    "step 1/2  eval_loss 1.7000  eval_accuracy 0.2500",
    "step 2/2  eval_loss 1.6000  eval_accuracy 0.5000",
    "trained 2 steps in 0:00:01; mean loss 2.0",
    "step 2/2  eval_loss 1.6000",
]


@pytest.mark.parametrize("metric, result, seen", [("accuracy", 0.5, [0.25, 0.5]), ("loss", 1.5, [1.7, 1.6])])
def test_a_run_tells_each_evaluation(tmp_path, metric, result, seen):
    folder, values = tmp_path / "trial", []
    found = searching.run(program(folder, LINES), folder, metric, lambda value: values.append(value) or True)
    assert (found, values) == (result, seen)
    assert sorted(path.name for path in folder.iterdir()) == ["all_results.json", "run.json"]
    assert (tmp_path / "trial.log").read_text("utf-8").splitlines() == LINES
    again = searching.run(["no such program"], folder, metric, lambda value: True)
    assert again == result


def test_the_weights_of_the_last_runs_are_kept(tmp_path):
    folder = tmp_path / "best-seed-42"
    searching.run(program(folder, LINES), folder, "loss", lambda value: True, keep=True)
    assert (folder / "model.safetensors").exists() and (folder / "checkpoint-1").exists()


def test_a_hopeless_run_is_stopped(tmp_path):
    folder = tmp_path / "trial"
    assert searching.run(program(folder, LINES[:2], wait=60), folder, "accuracy", lambda value: False) is None
    assert not (folder / "all_results.json").exists() and not (folder / "checkpoint-1").exists()


def test_an_interrupted_run_may_end_by_itself(tmp_path):
    folder, saving = (
        tmp_path / "trial",
        "import signal\nsignal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)))",
    )
    command = program(folder, LINES[:2], wait=60)
    command[-1] = command[-1].replace("folder =", f"{saving}\nfolder =", 1)

    def interrupt(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searching.run(command, folder, "loss", interrupt)
    assert (tmp_path / "trial.log").read_text("utf-8").endswith("saved\n")
    assert (folder / "checkpoint-1").exists()


def test_a_run_that_diverges_is_a_bad_trial(tmp_path):
    said = ["error: the loss is not a finite number at step 3"]
    assert searching.run(program(tmp_path / "trial", said, code=2), tmp_path / "trial", "loss", lambda value: True) is None


def test_a_run_that_fails_ends_the_search(tmp_path):
    folder, said = tmp_path / "trial", ["Loading", "error: --model x: no such folder"]
    message = f"trial failed: --model x: no such folder; all that it said: {folder}.log"
    with pytest.raises(searching.UserError, match=re.escape(message)):
        searching.run(program(folder, said, code=2, finished=False), folder, "loss", lambda value: True)


@pytest.mark.slow
def test_real_runs(run_script, tmp_path, command):
    result = run_script(*command, "--trials", 2, "--seeds", 1, "--num_train_epochs", 1)
    assert result.code == 0, result.stderr
    assert read_json(tmp_path / "study" / "best-seed-42" / "all_results.json")["test_rows"] == 4
