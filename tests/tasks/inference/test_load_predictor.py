"""A run's folder, or a bare model, becomes a Predictor with the right task, lengths and settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tasks.arguments.generation import GenerationArguments
from tasks.errors import UserError
from tasks.inference import predicting
from tasks.inference.predicting import load_predictor
from tasks.run_folder import RunConfig
from tests.conftest import model_args

RUN = RunConfig(
    task="summarize", task_version=1, base_model="b", prompt_format="", separators={}, label_words={}, max_length=64,
    max_new_tokens=20, generation={"max_new_tokens": 20, "num_beams": 2, "do_sample": False},
)  # fmt: skip


@pytest.fixture
def run_folder(kogpt2_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(kogpt2_folder, folder)
    RUN.save(folder)
    return folder


def load(folder, given=None, **options):
    return load_predictor(model_args(str(folder)), given or GenerationArguments(), **options)


def test_task_lengths_and_settings_are_those_of_the_run(run_folder):
    predictor = load(run_folder)
    assert predictor.task.name == "summarize"
    assert (predictor.encoder.max_length, predictor.encoder.max_new_tokens) == (64, 20)
    assert (predictor.settings["num_beams"], predictor.settings["max_new_tokens"]) == (2, 20)


def test_what_is_given_wins_over_the_run(run_folder):
    predictor = load(run_folder, GenerationArguments(max_new_tokens=5, num_beams=1), max_length=32, batch_size=3, seed=9)
    assert (predictor.encoder.max_length, predictor.encoder.max_new_tokens) == (32, 5)
    assert (predictor.settings["num_beams"], predictor.batch_size, predictor.seed) == (1, 3, 9)


@pytest.mark.parametrize(("chosen", "said"), [(True, ["--dtype: slow"]), (False, [])])
def test_a_slow_type_is_told_where_it_was_chosen(run_folder, monkeypatch, caplog, chosen, said):
    monkeypatch.setattr(predicting, "slow_half", lambda flag, kind, device: f"{flag}: slow")
    load(run_folder, chosen=chosen)
    assert caplog.messages == said


def test_another_task_does_not_inherit_lengths_and_settings(run_folder):
    predictor = load(run_folder, task_name="nli")
    assert (predictor.task.name, predictor.encoder.max_length) == ("nli", 128)
    assert (predictor.settings["num_beams"], predictor.settings["max_new_tokens"]) == (1, 8)


def test_a_base_model_needs_a_task_and_gets_its_separators(kogpt2_folder):
    predictor = load(kogpt2_folder, task_name="nli")
    assert [predictor.encoder.separator_id(separator) for separator in predictor.task.separators] == [9, 10]
    with pytest.raises(UserError, match=r"no task\.json there, so its task is not known; name it with --task"):
        load(kogpt2_folder)


def test_an_unknown_task_names_those_there_are(kogpt2_folder):
    with pytest.raises(UserError, match=r"unknown task 'translate'; the tasks are generate, summarize, nli, qa, "):
        load(kogpt2_folder, task_name="translate")


def test_a_model_of_another_version_of_the_prompt_is_refused(run_folder):
    replace(RUN, task_version=2).save(run_folder)
    with pytest.raises(UserError, match=r"made for version 2 of the summarize prompt, and this is version 1"):
        load(run_folder)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"architecture": "x"})])
def test_a_task_json_that_is_not_ours_is_named(run_folder, text):
    (run_folder / "task.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"task\.json: not a task\.json of this project"):
        load(run_folder)


def test_no_room_for_a_prompt_is_refused(run_folder):
    with pytest.raises(UserError, match=r"max_new_tokens 64 leaves no room for a prompt within max_length 64"):
        load(run_folder, GenerationArguments(max_new_tokens=64))


def test_more_tokens_than_positions_are_refused(run_folder):
    with pytest.raises(UserError, match=r"--max_length is 129; this model reads from 2 to 128 tokens"):
        load(run_folder, max_length=129)
