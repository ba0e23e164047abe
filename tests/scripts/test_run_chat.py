"""run_chat.py: an export of KakaoTalk without its names, answers at a terminal and from a file, and TRL on the folder."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from tests.conftest import ROOT, write_rows
from tests.helpers.docs import commands
from tests.scripts.conftest import read_json
from tests.scripts.test_predict import Terminal

#: Two people, spelled with what the tiny tokenizers know, on days of their own, so that each pair is a conversation.
NAMES = ("김철수", "민수")
EXPORT = "김철수 님과 카카오톡 대화\n저장한 날짜 : 2024-12-09 01:01:22\n\n" + "".join(
    f"--------------- 2024년 12월 {day}일 일요일 ---------------\n[김철수] [오후 2:30] {place} 누가\n"
    f"[김철수] [오후 2:31] 사진\n[민수] [오후 2:32] {place}에서 책을 빌렸다.\n"
    for day, place in enumerate(["공원", "시청", "서울", "부산", "바다", "도시"], 1)
)
#: The tiny model reads 128 tokens.
SHORT = ("--max_new_tokens", 12)


@pytest.fixture(scope="module")
def kakao(run_once, kogpt2_folder, tmp_path_factory):
    """A run on an export whose file is named after both."""
    folder = tmp_path_factory.mktemp("kakao")
    path = folder / "김철수와 민수.txt"
    path.write_text(EXPORT, "utf-8")
    result = run_once(
        "run_chat", "--model", kogpt2_folder, "--train_file", path, "--validation_split", 0.3, "--output_dir",
        folder / "out", "--num_train_epochs", 1, *SHORT, "--assistant_name", "민수",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    return folder / "out"


def test_no_file_of_a_run_names_who_spoke(kakao):
    for path in kakao.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".md", ".jinja") and path.name != "run.json":  # which is not published
            assert not [name for name in NAMES if name in path.read_text("utf-8")], path
    counts = read_json(kakao / "all_results.json")["counts"]
    assert sum(split["rows"] for split in counts.values()) == 6
    assert counts["train"]["messages_left_out"] == 6  # the photos


def test_an_export_without_a_name_stops_and_names_both(run_script, kogpt2_folder, tmp_path):
    (tmp_path / "a.txt").write_text(EXPORT, "utf-8")
    result = run_script("run_chat", "--model", kogpt2_folder, "--train_file", tmp_path / "a.txt", *SHORT)
    assert result.code == 2
    assert result.error == f"{tmp_path}/a.txt: 김철수, 민수 write there; say who answers with --assistant_name NAME"


def test_a_conversation_at_the_terminal(run_once, finished, monkeypatch):
    typed = iter(["누가", "/system 반말로", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    result = run_once("predict", finished("chat"), "--do_sample", "false", stdin=Terminal())
    assert result.code == 0, result.stderr
    assert result.stdout.startswith("/reset begins anew") and len(result.stdout.splitlines()) == 2


def test_messages_and_questions_of_a_file_are_answered_alike(run_script, finished, tmp_path):
    asked = [{"messages": [{"role": "user", "content": "누가"}]}, {"messages": "누가"}]
    files = [write_rows(tmp_path / f"{n}.jsonl", [row]) for n, row in enumerate(asked)]
    files.append(write_rows(tmp_path / "q.jsonl", [{"question": "누가"}]))
    answers = []
    for path in files:
        result = run_script("predict", finished("chat"), "--input_file", path, "--do_sample", "false")
        assert result.code == 0, result.stderr
        answers.append(json.loads(result.stdout)["prediction"])
    assert len(set(answers)) == 1


def test_an_answer_has_not_the_last_word_of_a_file(run_script, finished, tmp_path):
    messages = [{"role": "user", "content": "누가"}, {"role": "assistant", "content": "비가"}]
    path = write_rows(tmp_path / "a.jsonl", [{"messages": messages}])
    result = run_script("predict", finished("chat"), "--input_file", path)
    assert result.code == 2
    assert result.error.startswith(f"{path} line 1: the last message is not the user's, so there is nothing to answer")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
def test_the_documented_command_of_trl_tunes_the_folder(finished, tmp_path):
    (command,) = [words for words in commands(ROOT / "docs" / "chat.md") if words[0] == "trl"]
    arguments = dict(zip(command[2::2], command[3::2], strict=True))
    (tmp_path / arguments["--dataset_name"]).mkdir()
    told = [{"prompt": "누가", "chosen": "책을 빌렸다.", "rejected": "비가 온다."}] * 4
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    rows = [{name: [{"role": roles[name], "content": text}] for name, text in row.items()} for row in told]
    write_rows(tmp_path / arguments["--dataset_name"] / "train.jsonl", rows)
    arguments["--model_name_or_path"] = str(finished("chat"))
    arguments |= {"--max_steps": "2", "--bf16": "false", "--use_cpu": "true", "--report_to": "none"}
    words = [word for pair in arguments.items() for word in pair]
    program = "from trl.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, command[1], *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    tuned = tmp_path / arguments["--output_dir"]
    template = AutoTokenizer.from_pretrained(finished("chat")).chat_template
    assert AutoTokenizer.from_pretrained(tuned).chat_template == template
    assert (tuned / "model.safetensors").exists()
