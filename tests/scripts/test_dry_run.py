"""--dry_run: what is printed of rows, labels, lengths and steps, and that nothing is left behind."""

from __future__ import annotations

import pytest

from tests.conftest import write_rows
from tests.helpers.task_rows import TRAINED


@pytest.mark.parametrize("task", TRAINED)
def test_it_shows_the_rows_of_every_task_and_writes_nothing(task, run_script, kogpt2_folder, files, tmp_path):
    train, validation = files[task]
    words = (
        "--train_file",
        train,
        "--validation_file",
        validation,
        "--output_dir",
        tmp_path / "out",
        "--dry_run",
        "--max_new_tokens",
        12,
    )
    done = run_script(f"run_{task}", "--model", kogpt2_folder, *words)
    assert done.code == 0, done.stderr
    assert not list(tmp_path.iterdir())
    assert f"dry run of {task}: nothing is trained, nothing is written" in done.stdout
    assert "train: 8 rows" in done.stdout and "row 3, the learnt part in [[ ]]" in done.stdout
    assert "</s>]]" in done.stdout


def test_a_tokenizer_from_scratch_is_tried_too(run_script, files, tmp_path):
    train, _ = files["generate"]
    words = ("--train_file", train, "--vocab_size", 500, "--model_size", "mini", "--output_dir", tmp_path / "out")
    done = run_script("run_scratch", *words, "--tokens", 1, "--dry_run")
    assert done.code == 0, done.stderr
    assert not list(tmp_path.iterdir())
    assert ", max_steps 1\n  mini: 1 tokens are 0.00 a parameter outside the embedding" in done.stdout
    assert "dry run of scratch" in done.stdout and "\nupdates: 1 (--max_steps)\n" in done.stdout


def test_labels_lengths_and_the_learnt_part(run_script, kogpt2_folder, tmp_path):
    labels = ["entailment", "neutral", "neutral"] * 4
    rows = [{"premise": f"{n} 사과를 먹었다.", "hypothesis": "비가 온다.", "label": label} for n, label in enumerate(labels)]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    done = run_script("run_nli", "--model", kogpt2_folder, "--train_file", file, "--validation_file", file, "--dry_run")
    assert done.code == 0, done.stderr
    assert "  labels: 8 neutral, 4 entailment\n" in done.stdout
    assert "  tokens, learnt part: median 2, 95 % 2, longest 2\n" in done.stdout
    assert "row 1, the learnt part in [[ ]]:\n0 사과를 먹었다.<sep> 비가 온다.<nli>[[참</s>]]\n" in done.stdout
    assert "of 12 validation" in done.stdout  # all of them were trained on


def test_steps_are_those_of_the_run_and_a_step_is_timed(run_script, kogpt2_folder, files, tmp_path):
    train, validation = files["nli"]
    words = ("--train_file", train, "--validation_file", validation, "--output_dir", tmp_path / "out")
    words += ("--per_device_train_batch_size", 2, "--tokens_per_batch", 0, "--num_train_epochs", 5)
    done = run_script("run_nli", "--model", kogpt2_folder, *words, "--dry_run", "step")
    assert done.code == 0, done.stderr
    assert "updates: 20 (5 epochs of 4)" in done.stdout
    assert "s an update on" in done.stdout and "peak memory of 3 updates: " in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_finished_run_in_the_folder_is_no_obstacle(finished, run_script, kogpt2_folder, files):
    folder, (train, validation) = finished("nli"), files["nli"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    words = ("--train_file", train, "--validation_file", validation, "--output_dir", folder, "--dry_run")
    assert run_script("run_nli", "--model", kogpt2_folder, *words).code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
