"""Checkpoints that are known to be complete: the manifest, every kind of damage, and the newest one without a clock."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tasks.errors import UserError
from tasks.model.loading import restore
from tasks.model.model_files import unreadable
from tasks.training.checkpoints import (
    Checkpoints,
    damage,
    discard,
    find_checkpoints,
    fingerprint,
    newest_complete,
    read_manifest,
    rotate,
    write_manifest,
)

FILES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json")


def write(folder: Path, step: int, complete: bool = True, **facts) -> Path:
    """A small checkpoint in the layout of the Trainer."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.full((64,), float(step))}, path / "model.safetensors")
    for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt"):
        torch.save({"state": torch.arange(100.0)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    if complete:
        write_manifest(path, step=step, **facts)
    return path


def names(paths) -> list[str]:
    return [path.name for path in paths]


def test_the_manifest_names_every_file_with_its_size(tmp_path):
    path = write(tmp_path, 3, rows="abc")
    found = read_manifest(path)
    assert sorted(found["files"]) == sorted(FILES)
    assert found["files"]["model.safetensors"]["bytes"] == (path / "model.safetensors").stat().st_size
    assert (found["step"], found["rows"], found["order"]) == (3, "abc", 1)
    assert damage(path) is None


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "missing"])
def test_damage_names_the_file(tmp_path, name, kind, complete):
    path = write(tmp_path, 3, complete)
    file = path / name
    content = bytearray(file.read_bytes())
    if kind == "missing":
        file.unlink()
    elif kind == "flipped":
        # In the tensor itself: between its parts a torch file has padding, which nobody reads.
        content[max(content.find(struct.pack("<f", 50.0)), len(content) // 3)] ^= 0xFF
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if kind == "cut" else 0])
    found = damage(path)
    # Without a manifest nothing is known of a safetensors file's values, nor which files there were.
    if not complete and (kind, name) in [("flipped", "model.safetensors"), *(("missing", other) for other in FILES[:-1])]:
        assert found is None
    else:
        assert found.startswith(f"{name} ")


def test_a_shorter_file_is_told_with_its_sizes(tmp_path):
    path = write(tmp_path, 3)
    size = (path / "optimizer.pt").stat().st_size
    (path / "optimizer.pt").write_bytes(b"12345")
    assert damage(path) == f"optimizer.pt has 5 bytes, and {size:,} were written"


def test_nothing_is_unpickled_to_look_for_damage(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = write(tmp_path, 3, complete=False)
    torch.save({"state": Trap()}, path / "optimizer.pt")
    assert damage(path) is None
    assert not (tmp_path / "sprung").exists()


def test_a_safetensors_file_that_is_shorter_than_its_header_says(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(64)}, path)
    assert unreadable(path) is None
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert unreadable(path).startswith("model.safetensors is damaged or cut off (")


def test_the_newest_is_the_last_that_was_written_whatever_clock_and_step_say(tmp_path):
    write(tmp_path, 8)
    write(tmp_path, 4)  # somebody went back to an earlier one
    os.utime(tmp_path / "checkpoint-4", (1, 1))
    write(tmp_path, 12, complete=False)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-99").write_text("a file")
    assert names(find_checkpoints(tmp_path)) == ["checkpoint-12", "checkpoint-8", "checkpoint-4"]
    assert newest_complete(tmp_path)[0].name == "checkpoint-4"


def test_what_cannot_be_resumed_from_is_passed_over_with_its_reason(tmp_path):
    write(tmp_path, 2)
    write(tmp_path, 4)
    write(tmp_path, 6, resumable=False)
    (write(tmp_path, 8) / "rng_state.pth").unlink()
    (tmp_path / "checkpoint-4" / "complete.json").write_text("{")  # the manifest itself is damaged
    found, unusable = newest_complete(tmp_path)
    assert found.name == "checkpoint-2"
    assert [(path.name, problem) for path, problem in unusable] == [
        ("checkpoint-8", "rng_state.pth is missing"),
        ("checkpoint-6", "it holds the weights alone"),
    ]
    assert newest_complete(tmp_path / "nowhere") == (None, [])


def test_rotation_goes_by_order_and_keeps_the_best(tmp_path):
    best = write(tmp_path, 2)
    for step in (4, 6, 8):
        write(tmp_path, step)
    for number, step in enumerate((8, 6, 4, 2)):  # the clock was set back: the newest looks the oldest
        os.utime(tmp_path / f"checkpoint-{step}", (1000 + number, 1000 + number))
    rotate(tmp_path / "checkpoint-8", str(best), 3)
    assert sorted(names(find_checkpoints(tmp_path))) == ["checkpoint-2", "checkpoint-6", "checkpoint-8"]
    rotate(tmp_path / "checkpoint-8", str(best), 1)
    assert sorted(names(find_checkpoints(tmp_path))) == ["checkpoint-2", "checkpoint-8"]
    rotate(tmp_path / "checkpoint-8", None, 1, apart=best)
    assert len(find_checkpoints(tmp_path)) == 2
    rotate(tmp_path / "checkpoint-8", None, None)
    rotate(tmp_path / "checkpoint-8", None, 0)
    assert len(find_checkpoints(tmp_path)) == 2
    rotate(tmp_path / "checkpoint-8", None, 1)
    assert names(find_checkpoints(tmp_path)) == ["checkpoint-8"]


def test_a_checkpoint_that_is_being_deleted_loses_its_manifest_first(tmp_path, monkeypatch):
    path = write(tmp_path, 3)
    monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # killed right there
    discard(path)
    assert read_manifest(path) is None
    assert (path / "trainer_state.json").exists()


def test_no_process_looks_for_the_folder_of_a_checkpoint_before_it_is_there(tmp_path):
    folder, seen = tmp_path / "run" / "checkpoint-3", []
    accelerator = SimpleNamespace(wait_for_everyone=lambda: seen.append(folder.is_dir()))
    Checkpoints(accelerator).begin(folder, SimpleNamespace(should_save=True, save_total_limit=2))
    assert seen == [True]


def test_other_rows_are_never_mixed_in(tmp_path, capsys):
    path = str(write(tmp_path, 5, rows="rows"))
    checkpoints = Checkpoints(SimpleNamespace())
    checkpoints.start(path, "rows")
    checkpoints.start(path, None)  # a stream: nobody knows
    with pytest.raises(UserError, match="checkpoint-5 was trained on other rows, or rows in another order, than"):
        checkpoints.start(path, "others")
    checkpoints.start(path, "others", named=True)
    assert "was trained on other rows" in capsys.readouterr().err


def test_a_fingerprint_is_of_ids_labels_and_order():
    def rows(ids, labels, **more):
        return Dataset.from_dict({"input_ids": ids, "labels": labels, **more})

    first = fingerprint(rows([[1, 2], [3]], [[1, 2], [3]]))
    assert fingerprint(rows([[1, 2], [3]], [[1, 2], [3]], id=["a", "b"])) == first
    others = [
        fingerprint(rows([[1], [2, 3]], [[1], [2, 3]])),
        fingerprint(rows([[3], [1, 2]], [[3], [1, 2]])),
        fingerprint(rows([[1, 2], [3]], [[-100, 2], [3]])),
        fingerprint(rows([[1, 2]], [[1, 2]]), rows([[3]], [[3]])),
    ]
    assert len({first, *others}) == 5
    assert fingerprint(rows([[3], [1, 2]], [[3], [1, 2]]).select([1, 0])) == first
    assert fingerprint(rows([[1, 2], [3]], [[1, 2], [3]]), None) == first
    assert fingerprint(rows([[1]], [[1]]).to_iterable_dataset()) is None


def tiny(kind: str = "gpt2", layers: int = 2, width: int = 16):
    sizes = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": 2, "vocab_size": 40}
    more = {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 8} if kind == "qwen3" else {}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes, **more))


@pytest.mark.parametrize("other", [{"layers": 1}, {"layers": 3}, {"width": 32}, {"kind": "qwen3"}], ids=str)
def test_the_weights_of_another_model_are_refused(tmp_path, other):
    saved, model = tiny(), tiny(**other)
    saved.save_pretrained(tmp_path)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(UserError, match=r"is a checkpoint of another model \(\d+ weights differ\); resume with the --model"):
        restore(model, str(tmp_path))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    same = tiny()
    restore(same, str(tmp_path))
    assert all(torch.equal(weight, saved.state_dict()[name]) for name, weight in same.state_dict().items())
