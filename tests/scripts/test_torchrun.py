"""Scripts under torchrun, as on two GPUs and on two machines, and what ends them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT, Finished, write_rows
from tests.helpers.docs import commands
from tests.helpers.levels import quick
from tests.helpers.ranks import finish_torchrun, free_port, start_torchrun, torchrun
from tests.scripts.conftest import ROWS, read_json, read_jsonl

TWO = ("--standalone", "--nproc_per_node", 2)
SCRIPTS = ROOT / "scripts"


def error_of(done: Finished) -> str:
    """The one ``error:`` line of all processes. torchrun's own report has a traceback of torchrun."""
    assert done.code == 1, done.stderr  # whatever the worker's own code was
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert 'File "/' not in done.stderr.split("torch/distributed/")[0], done.stderr
    return lines[0].removeprefix("error: ")


def nli(model: str, output: Path, *more: object) -> tuple[object, ...]:
    """A short run of nli: 13 rows, which two processes of 3 rows take in 3 steps."""
    return (
        SCRIPTS / "run_nli.py", "--model", model, "--sample_data", "--max_train_samples", 13, "--max_eval_samples", 5,
        "--per_device_train_batch_size", 3, "--num_train_epochs", 1, "--tokens_per_batch", 0, "--output_dir", output,
        *more,
    )  # fmt: skip


def as_typed(folder: Path, *arguments: object) -> Finished:
    """``torchrun`` whose processes are started anew."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *map(str, arguments)], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, timeout=500, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("launch", quick([as_typed, torchrun], torchrun), ids=["as typed", "forked"])
def test_two_processes_train_one_model_and_speak_with_one_voice(kogpt2_folder, tmp_path, launch):
    more = ("--metric_for_best_model", "accuracy", "--logging_steps", 1)
    done = launch(tmp_path, *TWO, *nli(kogpt2_folder, tmp_path / "run", *more))
    assert done.code == 0, done.stderr
    assert done.stdout.count("everything is in") == done.stdout.count("trained 3 steps in ") == 1
    assert len(re.findall(r"^step \d/3  loss \S+  learning rate \S+  \S+ tokens/s$", done.stdout, re.M)) == 3
    assert len(re.findall(r"^step 3/3  eval_loss \S+  eval_accuracy .+$", done.stdout, re.M)) == 1
    assert "%|" not in done.stderr  # no terminal, no bar
    rows = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert [row["id"] for row in rows] == [f"validation-{n}" for n in range(5)]
    assert read_json(tmp_path / "run" / "trainer_state.json")["global_step"] == 3
    assert read_json(tmp_path / "run" / "all_results.json")["rows"] == 5


@pytest.mark.slow
def test_two_processes_train_the_classification_head_of_one(kogpt2_folder, tmp_path, run_script):
    given = nli(kogpt2_folder, "run", "--head", "--learning_rate", 0.01)[1:]
    done = torchrun(tmp_path, *TWO, SCRIPTS / "run_classify.py", *given)
    assert done.code == 0, done.stderr
    alone = ("--per_device_train_batch_size", 6, "--output_dir", "alone")
    assert run_script("run_classify", *given, *alone).code == 0
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "alone"))
    assert expected["score.weight"].shape[0] == len(read_json(tmp_path / "run" / "task.json")["label_words"]) == 4
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0)
    first, second = (read_jsonl(tmp_path / name / "predictions.jsonl") for name in ("run", "alone"))
    assert [row["prediction"] for row in first] == [row["prediction"] for row in second]


@pytest.mark.slow
def test_two_processes_learn_the_conversations_of_one(kogpt2_folder, files, tmp_path, run_script):
    train, validation = files["chat"]
    given = (
        "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--num_train_epochs", 2,
        "--per_device_train_batch_size", 2, "--tokens_per_batch", 0, "--learning_rate", 0.01, "--max_new_tokens", 12,
        "--output_dir", "run",
    )  # fmt: skip
    done = torchrun(tmp_path, *TWO, SCRIPTS / "run_chat.py", *given)
    assert done.code == 0, done.stderr
    assert run_script("run_chat", *given, "--per_device_train_batch_size", 4, "--output_dir", "alone").code == 0
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "alone"))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0)
    first, second = (read_jsonl(tmp_path / name / "predictions.jsonl") for name in ("run", "alone"))
    assert [(row["id"], row["prediction"]) for row in first] == [(row["id"], row["prediction"]) for row in second]


def test_a_mistake_that_every_process_finds_is_told_once(tmp_path, kogpt2_folder):
    done = torchrun(tmp_path, *TWO, *nli(kogpt2_folder, "run", "--train_file", "nowhere.jsonl"))
    assert error_of(done).startswith("--sample_data and --train_file cannot go together")


#: {what goes wrong in one process: (code that runs before the script, how the one line begins)}
FAULTS = {
    "killed while training": (
        """
        from tasks.training.trainer import CompletionTrainer as Trainer
        def fault(self, *args, before=Trainer.training_step):
            if self.state.global_step == 1 and self.args.process_index == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return before(self, *args)
        Trainer.training_step = fault
        """,
        "another process of this run has ended or hangs (",
    ),
    "killed while the first reads": (
        """
        import time
        from tasks.preparing.run_data import RunData
        def fault(self, encoder):
            if os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(100)
        RunData.encode = fault
        """,
        "SIGTERM: either torchrun was stopped, or another process of this run has ended",
    ),
    "a full disk while the other waits": (
        """
        import errno
        from tasks.training.trainer import CompletionTrainer as Trainer
        def fault(self, *args):
            raise OSError(errno.ENOSPC, "No space left on device", "run/model.safetensors")
        if os.environ["RANK"] == "0":
            Trainer._save = fault
        """,
        "run/checkpoint-3 could not be written (run/model.safetensors: No space left on device); make room, and ",
    ),
    "a mistake that only the second finds": (
        """
        from tasks.inference.predicting import Predictor
        from tasks.errors import UserError
        def fault(self, *args):
            raise UserError("row 7: the prompt does not fit")
        if os.environ["RANK"] == "1":
            Predictor._choose = fault
        """,
        "row 7: the prompt does not fit",
    ),
    "one that hangs": (
        """
        import time
        from tasks.inference.predicting import Predictor
        if os.environ["RANK"] == "1":
            Predictor._choose = lambda self, *args: time.sleep(600)
        """,
        "another process of this run has ended or hangs (",
    ),
}


def faulty(folder: Path, fault: str) -> Path:
    """run_nli.py in a process that something happens to."""
    script = folder / "faulty.py"
    script.write_text(
        f"import os, runpy, signal, sys\n{textwrap.dedent(fault)}\n"
        f"runpy.run_path({str(SCRIPTS / 'run_nli.py')!r}, run_name='__main__')\n",
        "utf-8",
    )
    return script


SLOW = ("killed while the first reads", "one that hangs")


@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.slow if what in SLOW else ()) for what in FAULTS])
def test_what_ends_one_process_ends_all_with_one_line(kogpt2_folder, tmp_path, what):
    fault, message = FAULTS[what]
    started = time.monotonic()
    arguments = nli(kogpt2_folder, "run", "--ddp_timeout", 15)[1:]
    done = torchrun(tmp_path, *TWO, faulty(tmp_path, fault), *arguments)
    assert error_of(done).startswith(message)
    assert not (tmp_path / "run" / "all_results.json").exists()
    assert time.monotonic() - started < 200  # seconds on a busy machine; no time-out of half an hour is waited for


def test_a_defect_in_one_process_keeps_its_traceback_and_the_others_are_silent(kogpt2_folder, tmp_path):
    fault = """
        from tasks.inference.predicting import Predictor
        def fault(self, *args):
            raise ZeroDivisionError("a defect")
        if os.environ["RANK"] == "1":
            Predictor._choose = fault
    """
    done = torchrun(tmp_path, *TWO, faulty(tmp_path, fault), *nli(kogpt2_folder, "run")[1:])
    assert done.code == 1
    assert "ZeroDivisionError: a defect" in done.stderr
    assert "by peer" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_several_processes_do_not_share_standard_input(kogpt2_folder, tmp_path):
    done = torchrun(tmp_path, *TWO, SCRIPTS / "predict.py", kogpt2_folder, "--task", "nli")
    assert error_of(done) == "several processes cannot share standard input; give --input_file"


# The commands of docs/gpus.md

DOCUMENTED = [words[1:] for words in commands(ROOT / "docs" / "gpus.md", "torchrun")]


def adapted(words: list[str], **values: object) -> list[object]:
    """The command with the values of this test in place of its own, by flag; a short run with the scripts of this clone."""
    found: list[object] = []
    for word in words:
        flag = str(found[-1]).removeprefix("--") if found else ""
        found.append(values.get(flag, ROOT / word if word.startswith("scripts/") else word))
    if SCRIPTS / "run_summarize.py" in found:
        found += ["--num_train_epochs", 1, "--max_new_tokens", 6, "--validation_split", 0.3]
    return found


@pytest.mark.slow
def test_the_commands_for_several_gpus(kogpt2_folder, tmp_path):
    write_rows(tmp_path / "news.jsonl", ROWS["summarize"])
    write_rows(tmp_path / "articles.jsonl", [{"document": row["document"]} for row in ROWS["summarize"]])
    for words in (words for words in DOCUMENTED if "--nnodes" not in words):
        done = torchrun(tmp_path, "--standalone", *adapted(words, model=kogpt2_folder, nproc_per_node=2))
        assert done.code == 0, done.stderr
    run = tmp_path / "outputs" / "news"
    assert len(read_jsonl(run / "predictions.jsonl")) == read_json(run / "all_results.json")["rows"] == 2
    assert read_json(tmp_path / "outputs" / "evaluate-summarize-news" / "all_results.json")["rows"] == 8
    answers = read_jsonl(tmp_path / "summaries.jsonl")
    assert [row["document"] for row in answers] == [row["document"] for row in ROWS["summarize"]]


@pytest.mark.slow
def test_the_commands_for_several_machines(kogpt2_folder, tmp_path):
    write_rows(tmp_path / "news.jsonl", ROWS["summarize"])
    (command,) = (words for words in DOCUMENTED if "--nnodes" in words)
    values = {"model": kogpt2_folder, "nproc_per_node": 1, "rdzv_endpoint": f"127.0.0.1:{free_port()}"}
    words = adapted(command, train_file=tmp_path / "news.jsonl", output_dir=tmp_path / "run", **values)
    machines = [tmp_path / "first", tmp_path / "second"]
    running = [(start_torchrun(folder, "--local_addr", "127.0.0.1", *words), folder) for folder in machines]
    done = [finish_torchrun(*machine) for machine in running]
    assert [machine.code for machine in done] == [0, 0], done[0].stderr + done[1].stderr
    assert sum(machine.stdout.count("everything is in") for machine in done) == 1
    assert read_json(tmp_path / "run" / "all_results.json")["rows"] == 2
