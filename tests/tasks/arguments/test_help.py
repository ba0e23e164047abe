"""--help, --help_all, and what an unknown flag may mean."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tasks import get_task
from tasks.arguments.command_line import parse_arguments, parse_dataclasses
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.help import EVERYDAY, MEANT
from tasks.errors import UserError
from tests.conftest import ROOT


def listed(capsys, *argv: str) -> list[str]:
    """The flags that stand at the beginning of a line of the help."""
    with pytest.raises(SystemExit) as left:
        parse_arguments(get_task("nli"), "", list(argv))
    assert left.value.code == 0
    return re.findall(r"^  (--\w+)", capsys.readouterr().out, re.MULTILINE)


def test_help_is_short_and_help_all_names_each_flag_once(capsys):
    short, whole = listed(capsys, "--help"), listed(capsys, "--help_all")
    assert 20 <= len(short) <= 30 and {"--model", "--train_file", "--learning_rate", "--help_all"} <= set(short)
    assert len(whole) == len(set(whole)) > 150 and set(short) < set(whole)
    assert not {"--hub_token", "--hub-token"} & set(whole)
    assert {"--weight_decay", "--do_train"} <= set(whole) - set(short)


def test_every_everyday_flag_is_a_flag_of_some_script(capsys):
    others = {
        "vocab_size",
        "model_size",
        "n_positions",
        "architecture",
        "budget_hours",
        "tokens",
        "tasks",
        "task_temperature",
    }
    whole = {flag[2:] for flag in listed(capsys, "--help_all")} | others
    assert {name for names in EVERYDAY.values() for name in names.split()} <= whole
    meant = {choice.split()[0][2:] for ours in MEANT for choice in ours.split(" | ")}
    assert meant - whole == {"input_file", "output_file", "batch_size"}  # of predict.py


def test_hub_token_has_the_same_answer_as_before():
    with pytest.raises(UserError, match="--hub_token: a token on the command line ends up in shell histories"):
        parse_arguments(get_task("nli"), "", ["--hub_token", "x"])


@pytest.mark.parametrize("script", ["run_nli", "run_scratch", "predict", "evaluate_model", "publish", "benchmark"])
def test_help_answers_without_torch(script):
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['{script}.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path('scripts/{script}.py', run_name='__main__')\n"
        "finally:\n"
        "    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "--help_all" in done.stdout


@pytest.mark.parametrize(
    ("flag", "advice"),
    [
        ("max_target_length", "did you mean --max_new_tokens?"),
        ("max_source_length", "did you mean --max_length?"),
        ("max-seq-length", "did you mean --max_length?"),
        ("text_column", "did you mean --column_map document=NAME?"),
        ("summary_column", "did you mean --column_map summary=NAME?"),
        ("no_cuda", "did you mean --use_cpu?"),
        ("group_by_length", "did you mean --train_sampling_strategy group_by_length?"),
        ("warmup_ratio", "did you mean --warmup_steps (below 1 a share)?"),
        ("lr", "did you mean --learning_rate?"),
        ("batch_size", "did you mean --per_device_train_batch_size?"),
        ("evaluation_strategy", "did you mean --eval_strategy?"),
        ("learning_rat", "did you mean --learning_rate?"),
        ("logging_dir", "leave it out: a tracker of --report_to has its own folder"),
        ("doc_stride", "leave it out: the model sets the windows over a long context"),
        ("zzzz", "see --help"),
    ],
)
def test_meaning_comes_before_spelling(flag, advice):
    with pytest.raises(UserError) as caught:
        parse_arguments(get_task("summarize"), "", [f"--{flag}", "64"])
    assert str(caught.value).startswith(f"unknown argument --{flag}; {advice}")
    assert "hub_token" not in str(caught.value)


def test_only_flags_that_the_script_has_are_named():
    for task in ("generate", "scratch"):
        with pytest.raises(UserError, match="--column_map text=NAME"):
            parse_arguments(get_task(task), "", ["--label_column", "x"])
    with pytest.raises(UserError, match="unknown argument --lr; see --help"):
        parse_dataclasses((GenerationArguments,), "", ["--lr", "1"])
