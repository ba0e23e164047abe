"""The output folder before training: whose it is, what may be deleted, what goes on by itself, and one run at a time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import get_task
from tasks.arguments.command_line import settings_of
from tasks.errors import UserError
from tasks.run_folder import RunConfig
from tasks.training.checkpoints import write_manifest
from tasks.training.output_folder import check_output_dir, end_run, lock, start_run

CONFIG = RunConfig("summarize", 1, "skt/kogpt2-base-v2", "document <summarize> summary <eos>", {}, {}, 1024, 128)


def arguments(folder: Path, **overrides) -> SimpleNamespace:
    """RunArguments as far as the folder is concerned."""
    settings = overrides.pop("settings", {"seed": 42, "learning_rate": 3e-5})
    defaults = {
        "resume_from_checkpoint": None, "do_train": True, "overwrite_output_dir": False, "should_save": True,
        "process_index": 0, "world_size": 1,
    }  # fmt: skip
    training = SimpleNamespace(output_dir=str(folder), **(defaults | overrides))
    return SimpleNamespace(training=training, data=SimpleNamespace(dry_run=None), settings=settings, plan={})


def check(folder: Path, task: str = "summarize", **overrides) -> str | None:
    return check_output_dir(get_task(task), arguments(folder, **overrides))


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    write_manifest(path, step=step)
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
        UserError, match="holds an earlier run; resume it with --resume_from_checkpoint last, replace it with"
    ):
        check(tmp_path)
    assert (tmp_path / left).exists()


@pytest.mark.parametrize("given", [{}, {"overwrite_output_dir": True}, {"resume_from_checkpoint": "last"}])
def test_measuring_alone_is_never_done_in_the_folder_of_a_run(finished, given):
    (finished / "all_results.json").unlink()
    before = sorted(path.name for path in finished.iterdir())
    with pytest.raises(UserError) as caught:
        check(finished, do_train=False, **given)
    assert str(caught.value) == (
        f"--no_do_train: --output_dir {finished} holds a trained run, whose results would be replaced by those of --model; "
        "choose another folder, or measure that run with scripts/evaluate_model.py"
    )
    assert sorted(path.name for path in finished.iterdir()) == before


def test_the_check_itself_deletes_nothing(finished):
    # A wrong data file is found after it, and must not have cost the earlier run.
    before = sorted(path.name for path in finished.iterdir())
    assert check(finished, overwrite_output_dir=True) is None
    assert sorted(path.name for path in finished.iterdir()) == before


def test_overwrite_deletes_checkpoints_and_results_alone(finished):
    for name in ("checkpoint-notes", "checkpoint-5.old", "my-checkpoint-5"):
        (finished / name).mkdir()
        (finished / name / "mine.txt").write_text("mine")
    (finished / "checkpoint-7").write_text("a file")
    begin(finished, overwrite_output_dir=True)
    assert {path.name for path in finished.iterdir()} == {
        ".lock", "run.json", "task.json", "config.json", "model.safetensors", "notes.txt", "checkpoint-notes",
        "checkpoint-5.old", "my-checkpoint-5", "checkpoint-7",
    }  # fmt: skip
    assert (finished / "checkpoint-notes" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".lock", "run.json", "checkpoint-15", "all_results.json", "README.md", "loss.png"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_that_leads_out_of_the_folder_is_refused_and_not_followed(finished, tmp_path, name, there):
    target = tmp_path / "elsewhere"
    if there:
        target.write_text("mine")
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(target)
    for given in ({}, {"overwrite_output_dir": True}, {"resume_from_checkpoint": "last"}, {"do_train": False}):
        with pytest.raises(UserError) as caught:
            check(finished, **given)
        assert str(caught.value) == f"{finished / name} is a link that leads out of the folder; put the file itself there"
    assert target.read_text() == "mine" if there else not target.exists()


def test_a_folder_that_is_a_link_itself_and_links_within_it_are_followed(finished, tmp_path):
    (finished / "latest").symlink_to("checkpoint-10")
    (tmp_path / "link").symlink_to(finished)
    assert check(tmp_path / "link", overwrite_output_dir=True) is None


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ({}, None),
        ({"overwrite_output_dir": True}, 10),
        ({"overwrite_output_dir": True, "should_save": False}, None),
    ],
)
def test_nothing_is_deleted_unasked_nor_before_resuming_nor_by_other_processes(finished, given, step):
    before = {path.name for path in finished.iterdir()}
    begin(finished, finished / f"checkpoint-{step}" if step else None, **given)
    assert {path.name for path in finished.iterdir()} - {".lock", "run.json"} == before


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


# A run that was not finished


def begin(folder: Path, checkpoint: Path | None = None, task: str = "summarize", **given) -> None:
    start_run(get_task(task), arguments(folder, **given), str(checkpoint) if checkpoint else None)


@pytest.fixture
def killed(tmp_path) -> Path:
    """What a run of summarize leaves that was killed while it wrote its third checkpoint."""
    folder = tmp_path / "run"
    begin(folder)
    checkpoint(folder, 5)
    checkpoint(folder, 10)
    (folder / "checkpoint-15").mkdir()
    (folder / "checkpoint-15" / "model.safetensors").write_bytes(b"wei")
    return folder


def test_the_same_settings_go_on_from_the_last_whole_checkpoint(killed, capsys):
    assert check(killed) == str(killed / "checkpoint-10")
    begin(killed, killed / "checkpoint-10")
    assert sorted(path.name for path in killed.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-5"]
    told = capsys.readouterr().err
    assert f"resuming from {killed}/checkpoint-10: the same run was not finished" in told
    assert f"{killed}/checkpoint-15 is removed: it is incomplete" in told


def test_a_run_that_had_no_checkpoint_yet_begins_again(tmp_path, capsys):
    begin(tmp_path)
    (tmp_path / "checkpoint-5").mkdir()
    assert check(tmp_path) is None
    assert "resuming from the beginning: the same run was not finished" in capsys.readouterr().err


def test_what_a_killed_process_left_goes_and_nothing_like_it(killed):
    alive, dead = os.getpid(), 2**22 + 1  # the kernel gives no such id
    names = [".run.json.{}.tmp", ".test_predictions.jsonl.{}.tmp", ".README.md.{}.tmp", ".writable-{}", ".publish-{}-a1_b"]
    others = [".notes.{}.tmp", "run.json.{}.tmp", ".run.json.{}", ".run.json.x{}.tmp", ".publish-x-{}"]
    for name in [*names, *others]:
        for process in (alive, dead):
            path = killed / name.format(process)
            path.mkdir() if "publish" in name else path.write_text("{")
    (killed / f".predictions.jsonl.{dead}.tmp").symlink_to(killed / "run.json")
    before = {name for name in os.listdir(killed) if name != f".run.json.{alive}.tmp"}  # which is written anew
    begin(killed, killed / "checkpoint-10")
    gone = before - set(os.listdir(killed)) - {"checkpoint-15"}
    assert gone == {name.format(dead) for name in names}


def test_other_settings_are_refused_and_named(killed):
    changed = {"settings": {"seed": 7, "learning_rate": 3e-5}}
    with pytest.raises(UserError, match="holds an earlier run that was started with another --seed; resume it with"):
        check(killed, **changed)
    assert check(killed, overwrite_output_dir=True, **changed) is None
    assert check(killed, resume_from_checkpoint="last", **changed) == str(killed / "checkpoint-10")


def test_a_finished_run_with_the_same_settings_is_refused(killed):
    (killed / "all_results.json").write_text("{}")  # a run may still be killed while it writes its card
    assert check(killed) == str(killed / "checkpoint-10")
    end_run(killed)
    with pytest.raises(UserError, match="holds an earlier run; resume it with"):
        check(killed)
    assert check(killed, overwrite_output_dir=True) is None


def test_the_end_of_a_run_that_is_on_no_record_is_none(tmp_path):
    end_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_run_without_a_record_is_refused(killed, content):
    (killed / "run.json").unlink() if content is None else (killed / "run.json").write_text(content)
    with pytest.raises(UserError, match="holds an earlier run; resume it with"):
        check(killed)


def test_the_unfinished_run_of_another_task_is_refused(killed):
    with pytest.raises(UserError, match="holds a run of summarize; choose another folder for qa"):
        check(killed, "qa", overwrite_output_dir=True)


def test_measuring_alone_does_not_go_on(killed):
    with pytest.raises(UserError, match=r"--no_do_train: --output_dir .* holds a trained run"):
        check(killed, do_train=False)


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before_it(killed, capsys):
    (killed / "checkpoint-10" / "model.safetensors").write_bytes(b"weighty")
    (killed / "checkpoint-5" / "model.safetensors").write_bytes(b"weights")  # as it was: a time stamp is no damage
    assert check(killed) == str(killed / "checkpoint-5")
    assert (killed / "damaged-checkpoint-10" / "model.safetensors").read_bytes() == b"weighty"
    assert not (killed / "checkpoint-10").exists()
    told = f"{killed}/checkpoint-10 is skipped: model.safetensors is not what was written (its SHA-256 differs); it is now "
    assert f"{told}{killed}/damaged-checkpoint-10" in capsys.readouterr().err


def test_where_all_are_damaged_nothing_is_begun_anew_unasked(killed):
    for step in (5, 10):
        (killed / f"checkpoint-{step}" / "trainer_state.json").unlink()
    for given in ({}, {"resume_from_checkpoint": "last"}):
        with pytest.raises(UserError, match=r"no complete checkpoint .*; restart with --overwrite_output_dir"):
            check(killed, **given)
    assert (killed / "checkpoint-10").exists()


def test_a_named_checkpoint_that_is_damaged_names_the_file_and_another_one(killed):
    (killed / "checkpoint-10" / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        check(killed, resume_from_checkpoint=str(killed / "checkpoint-10"))
    assert str(caught.value) == (
        f"--resume_from_checkpoint {killed}/checkpoint-10: model.safetensors has 0 bytes, and 7 were written; resume from "
        f"{killed}/checkpoint-5"
    )
    assert (killed / "checkpoint-10").exists()


def test_a_checkpoint_of_another_program_is_not_removed(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    begin(tmp_path)
    assert (tmp_path / "checkpoint-5").exists()
    assert check(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-5")) == str(tmp_path / "checkpoint-5")
    with pytest.raises(UserError, match=r"it has no complete.json: .* or name one that you know to be good"):
        check(tmp_path, resume_from_checkpoint="last")


def test_weights_alone_are_nothing_to_go_on_from(tmp_path):
    begin(tmp_path)
    write_manifest(checkpoint(tmp_path, 5), step=5, resumable=False)
    with pytest.raises(UserError, match=r"no complete checkpoint \(it holds the weights alone\)"):
        check(tmp_path)


def test_settings_are_what_decides_about_the_weights(monkeypatch):
    @dataclass
    class Some:
        seed: int = 42
        output_dir: str = "a"
        hub_token: str | None = None
        resume_from_checkpoint: str | None = None
        path: Path = Path("x")
        filled_in: int = field(default=3, init=False)

    assert settings_of(Some()) == {"processes": 1, "seed": 42, "path": "x"}
    assert settings_of(Some(output_dir="b", resume_from_checkpoint="last", hub_token="secret")) == settings_of(Some())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert settings_of(Some()) == {"processes": 2, "seed": 42, "path": "x"}


# One run at a time


def hold(folder, held):
    lock(folder)
    held.set()
    time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """Another process that has taken ``tmp_path / "run"``."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=hold, args=(tmp_path / "run", held := context.Event()))
    process.start()
    assert held.wait(60)
    yield process
    process.kill()
    process.join()


def test_a_second_run_is_refused_until_the_first_is_gone(holder, tmp_path):
    folder = tmp_path / "run"
    message = (
        f"--output_dir {folder} is in use by another run (process {holder.pid} on {os.uname().nodename}); wait for it, stop "
        "it, or choose another folder"
    )
    for attempt in (lambda: check(folder), lambda: check(folder, overwrite_output_dir=True), lambda: begin(folder)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value) == message
    holder.kill()  # -9: it cannot give anything back by itself
    holder.join()
    assert check(folder) is None
    begin(folder)
    assert (folder / ".lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"


def test_a_lock_file_without_a_name_is_a_lock_all_the_same(holder, tmp_path):
    (tmp_path / "run" / ".lock").write_text("")
    with pytest.raises(UserError, match=r"is in use by another run \(its process is not known\)"):
        check(tmp_path / "run")


def test_the_same_process_may_take_its_folder_again(tmp_path):
    begin(tmp_path)
    begin(tmp_path)
    assert check(tmp_path) is None
