"""Eight rows learnt by heart come back word for word: labels, separators, padding and eos are all where they belong."""

from __future__ import annotations

import json

import pytest

from tasks import get_task
from tests.helpers.levels import quick
from tests.helpers.task_rows import TRAINED


def overfit(run_script, folder, files, task, tmp_path, **flags):
    train, validation = files[task]
    arguments = {
        "model": folder, "train_file": train, "validation_file": validation, "output_dir": tmp_path / "out",
        "num_train_epochs": 120, "learning_rate": 0.01, "per_device_train_batch_size": 8, "max_new_tokens": 16,
        "eval_strategy": "no", "save_strategy": "no", "logging_steps": 100,
    } | flags  # fmt: skip
    result = run_script(f"run_{task}", *(text for name, value in arguments.items() for text in (f"--{name}", value)))
    assert result.code == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    return rows, json.loads((tmp_path / "out" / "all_results.json").read_text("utf-8"))


@pytest.mark.parametrize("task", [name for name in TRAINED if get_task(name).output_type != "loglikelihood"])
def test_what_was_learnt_by_heart_comes_back(run_script, kogpt2_folder, files, tmp_path, task):
    rows, results = overfit(run_script, kogpt2_folder, files, task, tmp_path, do_sample="false")
    # Equal to the reference means that eos was learnt too: the room for a completion is larger than any of them.
    assert [[row["prediction"]] for row in rows] == [row["references"] for row in rows]
    best = {"qa": 100.0, "chat": pytest.approx(0, abs=0.05)}.get(task, 1.0)
    assert results[get_task(task).main_metric] == best
    assert results["eval_loss"] < 0.05


@pytest.mark.parametrize("layout", quick(["gpt2", "llama", "neox"], "gpt2"))
def test_every_layout_learns_to_stop(run_script, request, files, tmp_path, layout):
    # Here pad is eos, or is absent: the mistake that makes a model write on for ever.
    folder = request.getfixturevalue(f"{layout}_folder")
    rows, _ = overfit(run_script, folder, files, "summarize", tmp_path, max_new_tokens=40, max_length=128)
    assert [[row["prediction"]] for row in rows] == [row["references"] for row in rows]


def test_texts_learnt_by_heart_are_no_surprise(run_script, kogpt2_folder, files, tmp_path):
    # All of them in each step: in batches of unlike size some texts would weigh more than others.
    rows, results = overfit(run_script, kogpt2_folder, files, "generate", tmp_path, do_sample="false", tokens_per_batch=0)
    # Which of eight texts it is, is open, three bits each; all the rest is certain.
    tokens, characters = (sum(row["scores"][name] for row in rows) for name in ("tokens", "characters"))
    assert results["perplexity"] == pytest.approx(2 ** (8 * 3 / tokens), rel=0.03)
    assert results["bits_per_character"] == pytest.approx(8 * 3 / characters, rel=0.1)
    assert results["baseline_bits_per_character"] > 3
    # The sample continues the first half of each text.
    assert [row["prediction"] for row in rows] == [" 책을 빌렸다."] * 8


def test_a_beginning_is_continued_with_the_text_that_was_learnt(run_script, kogpt2_folder, files, tmp_path):
    overfit(run_script, kogpt2_folder, files, "generate", tmp_path)
    result = run_script("predict", tmp_path / "out", "--prompt", "시연이 시청에서", "--do_sample", "false")
    assert json.loads(result.stdout)["prediction"] == " 책을 빌렸다."


def test_an_answer_far_inside_a_long_context_is_found_through_windows(run_script, kogpt2_folder, tmp_path):
    from tests.conftest import write_rows

    filler = "날씨가 맑다. 비가 온다. 과일을 먹지 않았다. " * 5
    rows = [
        {"context": f"{before}{place}에서 책을 빌렸다.{after}", "question": "어디에서?", "answers": [place]}
        for place in ("공원", "시청", "서울", "부산")
        for before, after in ((filler, ""), ("", filler), (filler, filler))
    ]
    files = {"qa": (write_rows(tmp_path / "a.jsonl", rows), write_rows(tmp_path / "b.jsonl", rows))}
    predictions, results = overfit(run_script, kogpt2_folder, files, "qa", tmp_path, max_length=48, max_new_tokens=8)
    assert results["counts"]["train"]["read_in_windows"] == 12
    assert min(row["scores"]["windows"] for row in predictions) >= 2
    # Windows without the answer were never trained on and may be sure of a wrong one: most, not all, are right.
    assert results["exact_match"] >= 60
