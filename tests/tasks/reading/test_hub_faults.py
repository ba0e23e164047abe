"""A Hub that fails while a model is loaded, weights that came in half, weights that are a pickle: one clear line each."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tasks.errors import UserError
from tasks.model.loading import load_config, load_model
from tasks.model.tokenizer import load_tokenizer
from tests.conftest import gpt2, model_args

pytest_plugins = ["tests.helpers.hub_fixtures"]

NAME = "me/model"


@pytest.fixture
def model_on_hub(hub, kogpt2_folder):
    """The tiny KoGPT2 on the Hub of the tests."""
    hub.add_repo(NAME, {path.name: path.read_bytes() for path in Path(kogpt2_folder).iterdir()})
    return hub


def load() -> torch.nn.Module:
    arguments = model_args(NAME)
    config = load_config(arguments)
    return load_model(arguments, load_tokenizer(arguments, config))


def test_without_a_fault_it_loads(model_on_hub):
    assert load().config.n_embd == 32


@pytest.mark.parametrize("route", ["resolve", "object"])
@pytest.mark.parametrize("fault", ["503", "lost"])
def test_a_hub_that_fails_is_told_in_one_line(model_on_hub, route, fault):
    if fault == "503":
        model_on_hub.fail(route, status=503, times=None)
    else:
        model_on_hub.drop(route, times=None, after=True)
    with pytest.raises(UserError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"{NAME}: ")
    assert "the Hub cannot be reached" in message or "the Hub answers with an error of its own (503)" in message
    model_on_hub.heal()
    assert load().config.n_embd == 32  # what came before the fault does no harm


@pytest.mark.parametrize("fault", ["503", "lost"])
def test_a_hub_that_fails_between_config_and_tokenizer(model_on_hub, fault):
    arguments = model_args(NAME)
    config = load_config(arguments)
    if fault == "503":
        model_on_hub.fail("resolve", status=503, times=None)
    else:
        model_on_hub.drop("resolve", times=None, after=True)
    with pytest.raises(
        UserError, match=f"{NAME}: (no such folder here, and the Hub cannot be reached|the Hub answers with)"
    ):
        load_tokenizer(arguments, config)


def test_a_hub_that_fails_once_is_asked_again(model_on_hub):
    model_on_hub.fail("resolve", status=503, times=1)
    assert load().config.n_embd == 32


@pytest.mark.parametrize("where", ["cache", "folder"])
def test_weights_that_came_in_half_are_named_with_the_way_out(model_on_hub, kogpt2_folder, tmp_path, where):
    if where == "cache":
        load()
        (link,) = Path(os.environ["HF_HOME"]).rglob("model.safetensors")
        arguments, path = model_args(NAME), link.resolve()
    else:
        folder = Path(shutil.copytree(kogpt2_folder, tmp_path / "model"))
        arguments, path = model_args(str(folder)), folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError) as caught:
        load_model(arguments, load_tokenizer(arguments, load_config(arguments)))
    assert str(caught.value) == (
        f"{arguments.model}: model.safetensors is damaged or cut off ({len(whole) // 2:,} bytes, and its header tells of "
        f"{len(whole):,}); delete {path} and load it again"
    )
    if where == "cache":
        path.unlink()
        assert load().config.n_embd == 32


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("where", ["folder", "hub"])
@pytest.mark.parametrize("trapped", [True, False])
def test_weights_that_are_a_pickle_are_refused(hub, kogpt2_folder, tmp_path, where, trapped):
    folder = Path(shutil.copytree(kogpt2_folder, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    state = {"trap": Trap(tmp_path / "sprung")} if trapped else gpt2(vocabulary).state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    name = str(folder)
    if where == "hub":
        hub.add_repo(NAME, {path.name: path.read_bytes() for path in folder.iterdir()})
        name = NAME
    arguments = model_args(name)
    with pytest.raises(UserError) as caught:
        load_model(arguments, load_tokenizer(arguments, load_config(arguments)))
    assert str(caught.value).startswith(
        f"{name}: no model.safetensors there; a pytorch_model.bin is a pickle, which can hold a program, and is not loaded;"
    )
    assert not (tmp_path / "sprung").exists()


def test_the_command_that_converts_a_pickle_works(kogpt2_folder, tmp_path):
    folder = Path(shutil.copytree(kogpt2_folder, tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    torch.save(gpt2(vocabulary).state_dict(), folder / "pytorch_model.bin")
    arguments = model_args(str(folder))
    with pytest.raises(UserError) as caught:
        load_model(arguments, load_tokenizer(arguments, load_config(arguments)))
    program = str(caught.value).partition('python -c "')[2].partition('" (from')[0]
    exec(program, {})
    assert load_model(arguments, load_tokenizer(arguments, load_config(arguments))).config.n_embd == 32
