"""The folder of a run: whose it is, what may be deleted, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import get_task
from tasks.errors import UserError
from tasks.run_folder import (
    RunConfig,
    check_output_dir,
    clear_output_dir,
    prompt_format,
    write_json,
    write_jsonl,
    write_lines,
)

CONFIG = RunConfig(
    "summarize", 1, "skt/kogpt2-base-v2", "document <summarize> summary <eos>", {"<summarize>": 9}, {}, 1024, 128,
    {"num_beams": 4}, "document=body",
)  # fmt: skip


def arguments(folder: Path, **overrides) -> SimpleNamespace:
    defaults = {"resume_from_checkpoint": None, "do_train": True, "overwrite_output_dir": False, "should_save": True}
    return SimpleNamespace(output_dir=str(folder), **(defaults | overrides))


def check(folder: Path, task: str = "summarize", **overrides) -> str | None:
    return check_output_dir(get_task(task), arguments(folder, **overrides))


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text("{}")
    return path


@pytest.fixture
def finished(tmp_path) -> Path:
    """What a finished run of summarize leaves, and a note that its owner put there."""
    folder = tmp_path / "run"
    checkpoint(folder, 5)
    checkpoint(folder, 10)
    CONFIG.save(folder)
    for name in ("all_results.json", "predictions.jsonl", "test_predictions.jsonl", "loss.png", "config.json",
                 "model.safetensors", "notes.txt"):  # fmt: skip
        (folder / name).write_text("{}")
    return folder


def test_a_new_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    assert check(tmp_path / "a" / "b") is None
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file is a file; name a folder"):
        check(tmp_path / "file")


def test_the_run_of_another_task_is_refused_even_with_overwrite(finished):
    with pytest.raises(UserError, match="holds a run of summarize; choose another folder for qa"):
        check(finished, "qa", overwrite_output_dir=True)
    assert (finished / "checkpoint-5").exists()


@pytest.mark.parametrize("left", ["all_results.json", "checkpoint-5"])
def test_an_earlier_run_is_refused_and_untouched(tmp_path, left):
    checkpoint(tmp_path, 5) if left.startswith("checkpoint") else (tmp_path / left).write_text("{}")
    with pytest.raises(
        UserError, match="holds an earlier run; go on with it by --resume_from_checkpoint last, replace it by"
    ):
        check(tmp_path)
    assert (tmp_path / left).exists()


def test_measuring_into_a_finished_run_needs_overwrite_and_deletes_nothing(finished):
    before = sorted(path.name for path in finished.iterdir())
    with pytest.raises(UserError, match="holds an earlier run"):
        check(finished, do_train=False)
    assert check(finished, do_train=False, overwrite_output_dir=True) is None
    assert sorted(path.name for path in finished.iterdir()) == before


def test_the_check_itself_deletes_nothing(finished):
    # A wrong data file is found after it, and must not have cost the earlier run.
    before = sorted(path.name for path in finished.iterdir())
    assert check(finished, overwrite_output_dir=True) is None
    assert sorted(path.name for path in finished.iterdir()) == before


def test_overwrite_deletes_checkpoints_and_results_alone(finished):
    clear_output_dir(arguments(finished, overwrite_output_dir=True))
    assert {path.name for path in finished.iterdir()} == {"task.json", "config.json", "model.safetensors", "notes.txt"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"overwrite_output_dir": True, "resume_from_checkpoint": "last"},
        {"overwrite_output_dir": True, "should_save": False},
    ],
)
def test_nothing_is_deleted_unasked_nor_before_resuming_nor_by_other_processes(finished, given):
    before = sorted(path.name for path in finished.iterdir())
    clear_output_dir(arguments(finished, **given))
    assert sorted(path.name for path in finished.iterdir()) == before


def test_overwrite_deletes_nothing_of_a_folder_that_no_run_wrote(tmp_path):
    # A checkpoint and a model that are somebody else's: without task.json nothing says that they are ours.
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    with pytest.raises(UserError, match="holds files that no run of this project wrote; choose an empty folder"):
        check(tmp_path, overwrite_output_dir=True)
    assert (tmp_path / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "setup.cfg", ".git"])
def test_a_foreign_folder_is_refused(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match="no run of this project wrote"):
        check(tmp_path)


def test_a_folder_with_harmless_files_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert check(tmp_path) is None
    assert (tmp_path / "notes.txt").read_text() == "x"


@pytest.mark.parametrize("word", ["last", "true", "True"])
def test_resuming_takes_the_last_checkpoint(finished, word):
    assert check(finished, resume_from_checkpoint=word) == str(finished / "checkpoint-10")
    assert (finished / "all_results.json").exists()


def test_resuming_wins_over_overwriting(finished):
    assert check(finished, resume_from_checkpoint="last", overwrite_output_dir=True) == str(finished / "checkpoint-10")
    assert (finished / "checkpoint-5").exists()


def test_resuming_takes_a_named_checkpoint(finished):
    assert check(finished, resume_from_checkpoint=str(finished / "checkpoint-5")) == str(finished / "checkpoint-5")


def test_resuming_without_a_checkpoint_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(UserError, match=r"--resume_from_checkpoint last: .* holds no checkpoint; start without it"):
            check(folder, resume_from_checkpoint="last")
    with pytest.raises(UserError, match=r"nowhere: not a checkpoint of a Trainer \(no trainer_state.json\)"):
        check(tmp_path, resume_from_checkpoint=str(tmp_path / "nowhere"))


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    # Root may write anywhere, so the refusal is simulated.
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UserError, match=r"Permission denied; choose a folder that you may write to"):
        check(tmp_path)


def test_a_parent_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="Not a directory"):
        check(tmp_path / "file" / "run")


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
