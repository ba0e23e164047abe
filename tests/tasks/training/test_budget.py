"""--budget_hours and --tokens: which size, batch, rate and steps they lead to, and what is said of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from tasks import get_task
from tasks.arguments.command_line import parse_arguments
from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.errors import UserError
from tasks.model.new_model import GPT2_SIZES, gpt2_config, train_tokenizer
from tasks.preparing.encoding import Encoder
from tasks.training import budget
from tasks.training.trainer import CompletionTrainer
from tests.conftest import CORPUS

TASK = get_task("scratch")

#: Rows of a table of its own, so that a new measurement changes no test.
RUN = {"tokens": 5000, "bits_per_character": 4.2, "card": "T4"}
TABLE = {
    "mini": {
        "parameters": 1_000, "tokens_per_batch": 64, "learning_rate": 6e-4, "measured": [
            RUN | {"architecture": "gpt2", "optim": "adamw", "learning_rate": 2e-3},
            RUN | {"architecture": "gpt2", "optim": "muon", "learning_rate": 4e-3},
        ],
    },
    "compact": {
        "parameters": 10_000, "tokens_per_batch": 128, "learning_rate": 6e-4, "measured": [
            RUN | {"architecture": "gpt2", "optim": "adamw", "learning_rate": 1e-3},
            RUN | {"architecture": "qwen3", "optim": "adamw", "learning_rate": 5e-3},
            RUN | {"architecture": "gpt2", "optim": "muon", "learning_rate": 3e-3},
        ],
    },
    "small": {"parameters": 100_000, "tokens_per_batch": 256, "learning_rate": 6e-4, "measured": []},
}  # fmt: skip

#: 100 rows of 16 tokens.
ROWS = Dataset.from_dict({"input_ids": [[1] * 16] * 100, "labels": [[1] * 16] * 100})
DATA = SimpleNamespace(task=TASK, counts={"train": {"tokens": 1_600}})


@pytest.fixture(scope="module")
def encoder():
    return Encoder(
        train_tokenizer(CORPUS, 700, TASK.separators, 64), 64, 8, settings=generation_settings(TASK, GenerationArguments())
    )


@pytest.fixture
def planned(encoder, monkeypatch, capsys):
    """``planned("--tokens", 500, speeds={...})``: the arguments as decided, sizes timed, what was printed."""

    def run(*words, speeds=None, checkpoint=None):
        timed = []
        monkeypatch.setattr(budget, "MEASURED_RUNS", TABLE)
        monkeypatch.setattr(budget, "tokens_per_second", lambda *args: timed.append(args[-2]) or speeds[args[-2]])
        args = parse_arguments(TASK, "", [*map(str, words), "--use_cpu"])
        budget.plan(args, DATA, encoder, ROWS, checkpoint)
        return args, timed, capsys.readouterr().out

    return run


def used(args) -> tuple:
    training = args.training
    return args.model.model_size, training.tokens_per_batch, training.learning_rate, training.max_steps


def test_the_table_has_every_size_with_its_weights():
    assert list(budget.MEASURED_RUNS) == list(GPT2_SIZES)
    tokenizer = train_tokenizer(CORPUS, 700, TASK.separators, 64)
    for size, run in budget.MEASURED_RUNS.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(gpt2_config(size, tokenizer))
        assert run["parameters"] == pytest.approx(model.num_parameters(exclude_embeddings=True), rel=0.02)
        assert run.keys() == {"parameters", "tokens_per_batch", "learning_rate", "measured"}
        for each in (run, *run["measured"]):
            assert isinstance(each["learning_rate"], float)  # 2e-3 is a text in YAML
        names = {"architecture", "optim", "learning_rate", "tokens", "bits_per_character", "card"}
        assert all(names <= each.keys() <= names | {"tokens_per_second"} for each in run["measured"])
        assert {each["optim"] for each in run["measured"]} <= {"adamw", "muon"}


# In an epoch of mini there are 25 batches of 4 rows, of compact 13 of 8 rows, of small 7 of 16 rows.
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tokens", 100], ("mini", 64, 2e-3, 2)),
        (["--tokens", 99_999], ("mini", 64, 2e-3, 1562)),
        (["--tokens", 100_000], ("compact", 128, 1e-3, 812)),
        (["--tokens", 2_000_000], ("small", 256, 6e-4, 8750)),
        (["--tokens", 100_000, "--optim", "muon"], ("compact", 128, 3e-3, 812)),
        (["--tokens", 100_000, "--architecture", "qwen3"], ("compact", 128, 5e-3, 812)),
        (["--tokens", 100_000, "--architecture", "qwen3", "--optim", "muon"], ("compact", 128, 3e-3, 812)),
        (["--tokens", 1_000_000, "--optim", "muon"], ("small", 256, 6e-4, 4375)),
        (["--tokens", 100_000, "--model_size", "mini"], ("mini", 64, 2e-3, 1562)),
        (["--tokens", 100_000, "--learning_rate", 6e-4], ("compact", 128, 6e-4, 812)),
        (["--tokens", 100_000, "--tokens_per_batch", 64], ("compact", 64, 1e-3, 1562)),
        (["--tokens", 100_000, "--tokens_per_batch", 0, "--per_device_train_batch_size", 10], ("compact", 0, 1e-3, 625)),
        (["--tokens", 100_000, "--per_device_train_batch_size", 10], ("compact", None, 1e-3, 625)),
        (["--tokens", 100_000, "--gradient_accumulation_steps", 2], ("compact", 64, 1e-3, 812)),
    ],
)  # fmt: skip
def test_tokens_lead_to_the_largest_size_that_has_ten_for_each_parameter(planned, words, expected):
    args, timed, _ = planned(*words)
    assert used(args) == expected and timed == []


def test_hours_lead_to_the_largest_size_that_sees_as_many_in_them(planned):
    args, timed, said = planned("--budget_hours", 0.5, speeds={"mini": 1000.0, "compact": 100.0, "small": 50.0})
    assert used(args) == ("compact", 128, 1e-3, 1462) and timed == ["mini", "compact"]
    assert said == (
        "--budget_hours 0.5: model_size compact, tokens_per_batch 128, learning_rate 0.001, max_steps 1462\n"
        "  mini: 1,000 tokens a second here\n"
        "  compact: 100 tokens a second here\n"
        "  compact: 180,000 tokens are 18.00 a parameter outside the embedding (10,000); a larger size needs 10 or more\n"
        "  learning rate 0.001: the best with gpt2 and adamw in runs of 5,000 tokens on T4\n"
        "  the corpus of 1,600 tokens is read 112.5 times, 123 tokens a step; after 4 times new text teaches more\n"
    )


def test_a_slow_machine_times_the_smallest_size_alone(planned):
    args, timed, said = planned("--budget_hours", 0.02, speeds={"mini": 50.0})
    assert used(args) == ("mini", 64, 2e-3, 56) and timed == ["mini"]
    assert "  mini: 3,600 tokens are 3.60 a parameter outside the embedding (1,000); a" in said
    assert said.endswith("  the corpus of 1,600 tokens is read 2.2 times, 64 tokens a step\n")


def test_a_size_that_was_given_is_timed_alone(planned):
    args, timed, said = planned("--budget_hours", 1, "--model_size", "compact", speeds={"compact": 1.0})
    assert used(args) == ("compact", 128, 1e-3, 29) and timed == ["compact"]
    assert said.startswith("--budget_hours 1: tokens_per_batch 128, learning_rate 0.001, max_steps 29\n")


def test_a_size_that_does_not_fit_is_skipped_in_words(planned, monkeypatch):
    args, _, said = planned("--budget_hours", 1, speeds={"mini": 1e6, "compact": 0.0})
    assert args.model.model_size == "mini"
    assert "\n  mini: 1,000,000 tokens a second here\n  compact does not fit into memory\n" in said
    monkeypatch.setattr(budget, "total_memory", lambda device: 2e6)
    args, _, said = planned("--tokens", 10**9)  # compact's weights with gradients and moments alone take 5.5 MB
    assert args.model.model_size == "mini" and "\n  compact does not fit into memory\n" in said
    with pytest.raises(UserError, match=r"^--budget_hours 1: mini does not fit into memory; give fewer --tokens_per"):
        planned("--budget_hours", 1, speeds={"mini": 0.0})


def test_a_rate_that_was_not_measured_and_one_that_was_given_are_said_to_be_so(planned):
    said = planned("--tokens", 1_000_000)[2]
    assert "\n  learning rate 0.0006: the usual one for this size, of which no run was measured\n" in said
    assert "\n  learning rate: as given\n" in planned("--tokens", 1_000_000, "--learning_rate", 1e-3)[2]


def test_without_a_budget_nothing_is_decided(planned):
    args, _, said = planned("--max_steps", 3)
    assert used(args) == ("small", None, 6e-4, 3) and said == "" and args.plan == {}


def test_a_resumed_run_takes_what_was_decided(planned, tmp_path):
    args, _, _ = planned("--budget_hours", 1, speeds={"mini": 1.0})
    run = {"task": "scratch", "settings": args.settings, "plan": args.plan, "finished": False}
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    again, timed, said = planned("--budget_hours", 1, checkpoint=str(tmp_path / "checkpoint-2"))
    assert used(again) == used(args) == ("mini", 64, 2e-3, 56) and timed == []
    assert said == (
        "--budget_hours 1: model_size mini, tokens_per_batch 64, learning_rate 0.002, max_steps 56\n"
        "  as decided when the run began\n"
    )
    for words in (["--budget_hours", 2], ["--tokens", 3600]):
        with pytest.raises(UserError, match=r"checkpoint-2 had another budget or none; give --max_steps and the flags of"):
            planned(*words, checkpoint=str(tmp_path / "checkpoint-2"))


def test_the_speed_is_that_of_the_trainer_and_leaves_no_trace(encoder, monkeypatch, tmp_path):
    examples = [TASK.format({"id": str(number), "text": text}) for number, text in enumerate(CORPUS * 2)]
    rows = Dataset.from_list(encoder.training_rows(examples))
    args = parse_arguments(TASK, "", ["--budget_hours", "1", "--use_cpu", "--optim", "muon"])
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(42)
    expected = torch.rand(3)
    speed = budget.tokens_per_second(args, DATA, encoder, rows, "mini", 8192)
    assert 10 < speed < 1e7
    assert torch.equal(torch.rand(3), expected)
    assert not list(tmp_path.iterdir())
    assert (args.training.max_steps, args.training.tokens_per_batch) == (-1, None)

    def full(self, *_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(CompletionTrainer, "training_step", full)
    assert budget.tokens_per_second(args, DATA, encoder, rows, "mini", 8192) == 0.0
