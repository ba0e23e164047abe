"""One model for several tasks, from the command line to the card."""

from __future__ import annotations

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from tasks.publishing.card import BY_TASK
from tasks.publishing.edits import SECTION
from tasks.run_folder import RunConfig
from tests.scripts.conftest import read_json, read_jsonl
from tests.scripts.test_resume import interrupt_at

NAMES = ("nli", "classify", "summarize", "generate", "chat")


def arguments(base, files, folder, *more, names=NAMES) -> tuple:
    train, validation = (",".join(f"{name}={files[name][split]}" for name in names) for split in (0, 1))
    return (
        "--model", base, "--tasks", ",".join(names), "--train_file", train, "--validation_file", validation,
        "--output_dir", folder, "--max_new_tokens", 8, "--num_samples", 1, "--learning_rate", 0.01, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(run_once, kogpt2_folder, files, tmp_path_factory):
    """The folder of a run on eight rows of each of five tasks, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "mixture"
    more = ("--num_train_epochs", 1, "--test_file", f"nli={files['nli'][1]}", "--column_map", "nli.premise=premise")
    result = run_once("run_tasks", *arguments(kogpt2_folder, files, folder, *more))
    assert result.code == 0, result.stderr
    return folder, result.stdout


def test_every_task_is_measured_by_its_own_metric(run):
    folder, printed = run
    results = read_json(folder / "all_results.json")
    assert (results["task"], results["rows"]) == ("nli-classify-summarize-generate-chat", 40)
    assert {f"{name}_rows": results[f"{name}_rows"] for name in NAMES} == {f"{name}_rows": 8 for name in NAMES}
    assert [results[f"{name}_baseline"] for name in NAMES] == [
        "majority label", "word counting", "lead sentence", "character unigrams",
        "nearest training question, bits by character unigrams",
    ]  # fmt: skip
    assert results["nli_test_accuracy"] == results["nli_accuracy"]
    assert results["nli_counts"]["train"]["rows"] == 8
    bits, of_baseline = results["generate_bits_per_character"], results["generate_baseline_bits_per_character"]
    assert results["normalized_scores"]["generate"] == pytest.approx((of_baseline - bits) / of_baseline)
    assert results["mean_normalized_score"] == pytest.approx(sum(results["normalized_scores"].values()) / 5)
    assert "\nclassify on 8 validation rows" in printed and "mean_normalized_score" in printed.splitlines()[-2]
    for name in NAMES:
        rows = read_jsonl(folder / f"{name}_predictions.jsonl")
        assert [row["id"] for row in rows] == [f"validation-{n}" for n in range(8)]


def test_losses_are_told_by_task_and_the_mean_chooses_the_checkpoint(run):
    folder, _ = run
    state, results = (read_json(folder / name) for name in ("trainer_state.json", "all_results.json"))
    by_task = [entry for entry in state["log_history"] if "eval_nli_loss" in entry]
    together = [entry for entry in state["log_history"] if "eval_mean_normalized_score" in entry]
    assert len(by_task) == 2 and len(together) == 1  # of the epoch, and at the end
    assert state["best_metric"] == together[0]["eval_mean_normalized_score"] == results["mean_normalized_score"]
    tokens = {name: results[f"{name}_counts"]["validation"]["labelled_tokens"] for name in NAMES}
    total = sum(results[f"{name}_eval_loss"] * tokens[name] for name in NAMES)
    assert results["eval_loss"] == pytest.approx(total / sum(tokens.values()))


def test_task_json_lists_what_each_task_has(run):
    folder, _ = run
    runs = RunConfig.load(folder)
    assert [each.task for each in runs.parts] == list(NAMES) and runs.task == "nli-classify-summarize-generate-chat"
    assert [each.column_map for each in runs.parts] == ["premise=premise", None, None, None, None]
    assert runs.parts[0].separators.keys() == {"<sep>", "<nli>"}
    assert runs.parts[0].separators["<sep>"] == runs.parts[1].separators["<sep>"]
    assert runs.parts[1].label_words == {"공원": "<label0>", "도서관": "<label1>"}
    assert isinstance(json.loads((folder / "task.json").read_text("utf-8")), list)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_card_has_a_part_for_each_task(run, language):
    from tasks.arguments.publishing import PublishArguments
    from tasks.publishing.card import render_card
    from tasks.publishing.lint import lint_card
    from tasks.publishing.report import RunReport

    folder, _ = run
    choices = PublishArguments(card_language=language, license="apache-2.0", dataset_license="other", card_examples=1)
    card = render_card(RunReport.load(folder), folder, choices, "me/mixture")
    assert lint_card(card, repo_id="me/mixture") == []
    sections = {match["name"]: match["body"] for match in SECTION.finditer(card)}
    for name in set(BY_TASK) & sections.keys():
        assert [line for line in sections[name].splitlines() if line.startswith("### ")] == [f"### {task}" for task in NAMES]
    assert sections["results"].count("**accuracy 0.") + sections["results"].count("**정확도 0.") == 2
    assert sections["results"].count("| **") == 6  # the main metric of each table, of nli two
    assert "max_new_tokens=8, num_beams=1, do_sample=True, top_k=50" in sections["usage"]
    assert "nli=TRAIN.jsonl,classify=TRAIN.jsonl" in sections["environment"]
    assert str(folder.parent) not in card


def test_predict_and_evaluate_ask_which_task(run, run_script, files):
    folder, _ = run
    message = f"{folder}: a model for nli, classify, summarize, generate, chat; say which task with --task nli"
    for script, flag in (("predict", "--input_file"), ("evaluate_model", "--validation_file")):
        result = run_script(script, folder, flag, files["nli"][1])
        assert (result.code, result.error) == (2, message)


def test_predict_gives_what_the_run_measured(run, run_script, files):
    folder, _ = run
    for task in ("nli", "summarize", "chat"):
        result = run_script("predict", folder, "--task", task, "--input_file", files[task][1])
        assert result.code == 0, result.stderr
        found = [json.loads(line)["prediction"] for line in result.stdout.splitlines()]
        assert found == [row["prediction"] for row in read_jsonl(folder / f"{task}_predictions.jsonl")]


def test_publish_shows_what_would_be_sent(run, run_script, monkeypatch):
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)  # a process of its own
    folder, _ = run
    result = run_script("publish", folder, "--dry_run", "--license", "apache-2.0", "--dataset_license", "other")
    assert result.code == 0, result.stderr
    sent = result.stdout.partition("\n\n")[0]
    assert "nli_confusion.png" in sent and "predictions.jsonl" not in sent


def test_a_resumed_run_ends_with_the_same_weights(run_once, kogpt2_folder, files, tmp_path, monkeypatch):
    more = ("--num_train_epochs", 3, "--dropout", 0.2, "--task_temperature", 2, "--early_stopping_patience", 5)

    def start(folder):
        return run_once("run_tasks", *arguments(kogpt2_folder, files, folder, *more, names=NAMES[:2]))

    assert start(tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2, signal.SIGTERM)
        assert start(tmp_path / "run").code == 143
    finished = start(tmp_path / "run")
    assert finished.code == 0, finished.stderr
    assert "resuming from" in finished.stderr
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    other = run_once("run_nli", "--model", kogpt2_folder, "--sample_data", "--output_dir", tmp_path / "run")
    assert other.error == f"--output_dir {tmp_path}/run holds a run of nli-classify; choose another folder for nli"


def test_dry_run_shows_each_task(run_script, kogpt2_folder, files, tmp_path):
    more = ("--dry_run", "--lora_r", 2)
    result = run_script("run_tasks", *arguments(kogpt2_folder, files, tmp_path / "run", *more, names=("qa", "nli")))
    assert result.code == 0, result.stderr
    assert "\n== qa\n" in result.stdout and "\n== nli\n" in result.stdout and "\nupdates: " in result.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--tasks nli", "--tasks nli: name two tasks or more: --tasks nli,qa,summarize"),
        ("", "--tasks: name two tasks or more: --tasks nli,qa,summarize"),
        ("--tasks nli,qu", "--tasks nli,qu: unknown task 'qu'; the tasks are generate, "),
        ("--tasks nli,qa,nli", "--tasks nli,qa,nli: nli stands there twice; name each task once"),
        ("--tasks nli,scratch", "--tasks nli,scratch: scratch makes a new model instead of training one; leave it out"),
        ("--tasks nli,qa --train_file qa=x.csv", "--tasks: nli has no rows; give --train_file nli=FILE, or its default"),
        ("--tasks nli,qa --train_file a.csv", "--train_file a.csv: say whose 'a.csv' is: nli=..., qa=..."),
        ("--tasks nli,qa --train_file x=a.csv", "--train_file x=a.csv: 'x' is not one of --tasks nli,qa; add it there, or"),
        ("--tasks nli,qa --train_file qa=a,qa=b", "--train_file qa=a,qa=b: qa stands there twice; several files are one"),
        ("--tasks nli,qa --column_map context=c", "--column_map context=c: say whose column 'context=c' is: nli.OURS="),
        ("--tasks nli,qa --streaming", "--streaming reads the rows of one task; leave it out, or train with"),
        ("--tasks nli,qa --head", "--head: a classification head answers for one task; leave it out, or train that task"),
        ("--tasks nli,qa --task_temperature 0", "--task_temperature is 0.0; it must be a number over 0"),
        ("--tasks nli,qa --label_words 0=a", "nli: --label_words: nli learns no labels from its rows; leave it out"),
        ("--tasks nli,qa --metric_for_best_model f1", "--metric_for_best_model f1: nli-qa measures loss, mean_normalized"),
        ("--tasks nli,qa --train_file qa=a.csv,nli=b.csv", "nli: "),
    ],
)
def test_mistakes_end_in_one_line(run_script, kogpt2_folder, flags, message):
    sample = () if "--train_file" in flags else ("--sample_data",)
    result = run_script("run_tasks", "--model", kogpt2_folder, *sample, *flags.split())
    assert result.code == 2
    assert result.error.startswith(message)


def test_each_task_is_compared_with_a_run_of_its_own(run, run_script, finished):
    result = run_script("compare", run[0], finished("nli"))
    assert result.code == 0, result.stderr
    tables = [name for name in result.stdout.splitlines() if name.removesuffix(":") in NAMES]
    assert tables == [f"{name}:" for name in NAMES]
    assert result.stdout.count("run 2 - run 1") == 1
