"""evaluate_model.py --benchmark: lm-evaluation-harness on a small copy of its tasks' layout, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tasks.inference.forward import choice_logprobs
from tasks.run_folder import weight_hashes
from tests.conftest import tokenizer_of, write_rows
from tests.scripts.conftest import read_json

WORDS = ["부정", "긍정"]
ROWS = [
    {"sentence": sentence, "label": label}
    for sentence, label in (
        ("사과를 먹었다.", 1), ("과일을 먹지 않았다.", 0), ("비가 온다.", 0), ("날씨가 맑다.", 1), ("책을 빌렸다.", 1),
    )
]  # fmt: skip

#: As lm_eval/tasks/kobest/kobest_sentineg.yaml, with a score that every log-probability moves.
CHOICES = """\
task: mini_sentineg
dataset_path: json
dataset_kwargs: {{data_files: {{train: {rows}, test: {rows}}}}}
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "문장: {{{{sentence}}}} 긍부정:"
doc_to_target: "{{{{label}}}}"
doc_to_choice: ["부정", "긍정"]
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: brier_score, aggregation: brier_score, higher_is_better: false}}
metadata: {{version: 1.5}}
"""
WRITING = """\
task: mini_writing
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: generate_until
test_split: test
doc_to_text: "문장: {{{{sentence}}}}"
doc_to_target: "긍정"
generation_kwargs: {{until: ["."], max_gen_toks: 4, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2.0}}
"""
GROUP = """\
group: mini
task: [mini_sentineg]
aggregate_metric_list:
  - {metric: acc, aggregation: mean, weight_by_size: true}
metadata: {version: 3.0}
"""
SCRIPT = """\
task: mini_script
dataset_path: {folder}
output_type: multiple_choice
test_split: test
doc_to_text: a
doc_to_target: 0
doc_to_choice: ["a", "b"]
"""


@pytest.fixture
def harness(tmp_path) -> Path:
    """A folder for --include_path."""
    pytest.importorskip("lm_eval")
    folder = tmp_path / "harness"
    folder.mkdir()
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    script = tmp_path / "by_script"
    script.mkdir()
    (script / "by_script.py").write_text("import datasets\n", "utf-8")
    texts = {"choices": CHOICES, "writing": WRITING, "script": SCRIPT}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text.format(rows=rows, folder=script), "utf-8")
    (folder / "group.yaml").write_text(GROUP, "utf-8")
    return folder


def ours(folder: str) -> list[list[float]]:
    """log P of both words after each prompt, by this project's own scoring."""
    from transformers import AutoModelForCausalLM

    tokenizer = tokenizer_of(folder)
    prompts = [f"문장: {row['sentence']} 긍부정:" for row in ROWS]
    ids = [tokenizer(prompt).input_ids for prompt in prompts]
    words = [tokenizer(f"{prompts[0]} {word}").input_ids[len(ids[0]) :] for word in WORDS]
    return choice_logprobs(AutoModelForCausalLM.from_pretrained(folder), ids, words, tokenizer.pad_token_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kogpt2", "gpt2"])
def test_the_figures_are_those_of_our_own_scoring(run_script, harness, tmp_path, request, name):
    folder = request.getfixturevalue(f"{name}_folder")
    result = run_script(
        "evaluate_model", folder, "--benchmark", "mini,mini_writing", "--include_path", harness,
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    found = read_json(tmp_path / "out" / "benchmarks.json")
    figures = {(row["task"], row["metric"]): row for row in found["results"]}
    assert {task for task, _ in figures} == {"mini", "mini_sentineg", "mini_writing"}
    logprobs = torch.tensor(ours(folder), dtype=torch.float64)
    labels = torch.tensor([row["label"] for row in ROWS])
    accuracy = (logprobs.argmax(-1) == labels).double().mean().item()
    one_hot = torch.nn.functional.one_hot(labels, 2)
    brier = ((logprobs.softmax(-1) - one_hot) ** 2).sum(-1).mean().item()
    assert figures["mini_sentineg", "acc"]["value"] == figures["mini", "acc"]["value"] == pytest.approx(accuracy)
    assert figures["mini_sentineg", "brier_score"]["value"] == pytest.approx(brier, rel=1e-4)
    row = figures["mini_sentineg", "acc"]
    assert (row["version"], row["num_fewshot"], row["rows"]) == ("1.5", 0, 5)
    assert figures["mini", "acc"]["version"] == "3.0"
    assert found["weights_sha256"] == weight_hashes(Path(folder))
    assert found["limit"] is None
    assert "mini_sentineg (1.5)" in result.stdout


@pytest.mark.slow
def test_a_runs_folder_gets_them_and_its_card_shows_them(run_script, harness, finished, tmp_path):
    folder = shutil.copytree(finished("nli"), tmp_path / "nli")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    more = ("--max_eval_samples", 3, "--num_fewshot", 1, "--include_path", harness)
    result = run_script("evaluate_model", folder, "--benchmark", "mini_sentineg", *more)
    assert result.code == 0, result.stderr
    found = read_json(folder / "benchmarks.json")
    assert found["limit"] == 3
    assert {(row["num_fewshot"], row["rows"]) for row in found["results"]} == {(1, 3)}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before} == before

    shown = run_script("publish", folder, "--dry_run", "--base_model", "skt/kogpt2-base-v2")
    assert "mini\\_sentineg (1.5)" in (folder / "README.md").read_text("utf-8") + shown.stdout


@pytest.mark.slow
def test_bad_names_and_data_are_refused_before_the_model_is_loaded(run_script, harness, kogpt2_folder, monkeypatch):
    monkeypatch.setattr("tasks.inference.benchmarks.load_predictor", lambda *_, **__: pytest.fail("the model was loaded"))
    wrong = {
        "kobest_bolq": "lm-eval has no task 'kobest_bolq'; did you mean one of kobest_boolq,",
        "xyzzyxyzzy": "lm-eval has no task 'xyzzyxyzzy'; `lm-eval ls tasks` lists them",
        "mini_script": "mini_script: its data set is a loading script, which datasets ",
        "kobest_copa": "kobest_copa: its data could not be reached (",
        "mini,mini_sentineg": "mini_sentineg: it cannot be loaded (Duplicate task 'mini_sentineg'",
    }
    for names, error in wrong.items():
        result = run_script("evaluate_model", kogpt2_folder, "--benchmark", names, "--include_path", harness)
        assert result.code == 2
        assert result.error.removeprefix("--benchmark").lstrip(": ").startswith(error), result.error


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--benchmark", "kobest"), "--benchmark needs lm-evaluation-harness; install it with: pip install -e '.[lm_eval]'"),
        (("--benchmark", ","), "--benchmark names no task; give one such as kobest"),
        (
            ("--benchmark", "kobest", "--task", "nli"),
            "--task: the rows, prompts and settings of --benchmark are its own; leave one of them out",
        ),
        (
            ("--benchmark", "kobest", "--sample_data"),
            "--sample_data: the rows, prompts and settings of --benchmark are its own; leave one of them out",
        ),
        (("--num_fewshot", 0), "--num_fewshot goes with --benchmark; add that, or leave it out"),
    ],
)
def test_flags_that_do_not_fit_are_refused(run_script, kogpt2_folder, monkeypatch, more, error):
    monkeypatch.setattr("tasks.inference.benchmarks.find_spec", lambda name: None)
    result = run_script("evaluate_model", kogpt2_folder, *more)
    assert (result.code, result.error) == (2, error)


def test_the_results_of_another_model_are_not_written_over(run_script, kogpt2_folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "task.json").write_text(json.dumps({}), "utf-8")
    result = run_script("evaluate_model", kogpt2_folder, "--benchmark", "kobest", "--output_dir", tmp_path / "other")
    assert result.code == 2
    assert result.error == f"--output_dir {tmp_path / 'other'} holds another trained model; choose another folder"
