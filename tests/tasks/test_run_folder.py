"""The folder of a run: task.json, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from tasks import get_task
from tasks.errors import UserError
from tasks.run_folder import RunConfig, prompt_format, write_json, write_jsonl, write_lines
from tests.conftest import ROOT

CONFIG = RunConfig(
    "summarize", 1, "skt/kogpt2-base-v2", "document <summarize> summary <eos>", {"<summarize>": 9}, {}, 1024, 128,
    {"num_beams": 4}, "document=body",
)  # fmt: skip


# task.json


def test_task_json_comes_back_as_it_was_saved(tmp_path):
    CONFIG.save(tmp_path)
    assert RunConfig.load(tmp_path) == CONFIG
    saved = json.loads((tmp_path / "task.json").read_text("utf-8"))
    assert saved["task"] == "summarize" and saved["separators"] == {"<summarize>": 9} and saved["max_length"] == 1024


def test_a_folder_without_task_json_has_none(tmp_path):
    assert RunConfig.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"task": "qa"}', '{"unknown": 1}', "\x00"])
def test_a_damaged_task_json_is_an_error(tmp_path, text):
    (tmp_path / "task.json").write_text(text)
    with pytest.raises(UserError, match=r"task.json: not a task.json of this project \(.*\); name the task with --task"):
        RunConfig.load(tmp_path)


def test_task_json_in_another_encoding_is_an_error(tmp_path):
    (tmp_path / "task.json").write_bytes('{"task": "요약"}'.encode("cp949"))
    with pytest.raises(UserError, match=r"task.json: not a task.json of this project"):
        RunConfig.load(tmp_path)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("generate", "<bos> text <eos>"),
        ("scratch", "<bos> text <eos>"),
        ("summarize", "document <summarize> summary <eos>"),
        ("nli", "premise <sep> hypothesis <nli> label <eos>"),
        ("qa", "context <question> question <answer> answers <eos>"),
    ],
)
def test_the_prompt_format_is_readable(task, expected):
    assert prompt_format(get_task(task)) == expected


# Files, whole or not at all


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}, "e": "한글"})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": None}, "e": "한글"}
    assert "한글" in text and text.endswith("}\n")


def test_rows_are_one_object_a_line(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", ({"id": i, "text": "줄\n바꿈", "score": float("nan")} for i in range(2)))
    lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"id": i, "text": "줄\n바꿈", "score": None} for i in range(2)]


def test_a_full_disk_leaves_what_was_there_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "all_results.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: write_json(path, {"new": 1}), lambda: write_lines(path, ["new\n"]), lambda: CONFIG.save(tmp_path)):
        with pytest.raises(UserError, match=r"json: No space left on device; nothing there was changed; free some space"):
            write()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["all_results.json"]


def test_a_failure_half_way_through_the_rows_leaves_what_was_there(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("old")

    def rows():
        yield {"id": "0"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, rows())
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        write_lines(tmp_path / "nowhere" / "a.txt", ["x\n"])


def test_writing_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a longer text that was there before")
    write_lines(path, ["하나\n", "둘\n"])
    assert path.read_text("utf-8") == "하나\n둘\n"


# What is no regular file


def test_writing_removes_what_a_killed_process_left_of_the_same_file(tmp_path):
    left = [tmp_path / f".{name}.{process}.tmp" for name in ("out.csv", "out.tsv") for process in (2**22 + 1, os.getppid())]
    for path in left:
        path.touch()
    write_lines(tmp_path / "out.csv", ["a\n"])
    assert [path.exists() for path in left] == [False, True, True, True]


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_lines(pipe, ["하나\n", "둘\n"])
    assert os.read(reader, 100).decode() == "하나\n둘\n"
    os.close(reader)
    assert pipe.is_fifo()
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]


def test_a_link_keeps_leading_where_it_does(tmp_path):
    (tmp_path / "data").mkdir()
    for name, before in (("there.txt", "old"), ("not-yet.txt", None)):
        target, link = tmp_path / "data" / name, tmp_path / f"link-to-{name}"
        if before:
            target.write_text(before)
        link.symlink_to(target)
        write_lines(link, ["new\n"])
        assert (link.is_symlink(), target.read_text()) == (True, "new\n")
    assert sorted(file.name for file in (tmp_path / "data").iterdir()) == ["not-yet.txt", "there.txt"]


def test_a_link_to_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_json(tmp_path / "link", {"a": 1})
    assert json.loads(os.read(reader, 100)) == {"a": 1}
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("redirected", ["pipe", "file", "end of a file"])
def test_standard_output_by_its_name(tmp_path, redirected):
    code = "import sys; from tasks.run_folder import write_lines; write_lines('/dev/stdout', ['하나\\n'])"
    out = tmp_path / "out"
    out.write_text("before\n")
    with open(out, "a" if redirected == "end of a file" else "w", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE if redirected == "pipe" else file, check=True
        )
    expected = {"pipe": "", "file": "하나\n", "end of a file": "before\n하나\n"}
    assert out.read_text("utf-8") == expected[redirected]
    assert (done.stdout or b"").decode() == ("하나\n" if redirected == "pipe" else "")


def test_a_folder_and_a_name_that_is_too_long_are_errors(tmp_path):
    for path, problem in ((tmp_path, "Is a directory"), (tmp_path / ("a" * 300), "File name too long")):
        with pytest.raises(UserError, match=f"{problem}; nothing there was changed; free some space or write elsewhere"):
            write_lines(path, ["x\n"])
