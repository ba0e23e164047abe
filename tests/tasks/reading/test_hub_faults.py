"""A Hub that fails while a model is loaded, weights that came in half: one clear line each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.model.tokenizer import load_tokenizer
from tasks.network import answers
from tasks.preparing.splits import load_examples
from tests.conftest import model_args

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


@pytest.mark.parametrize("name", ["KoGPT2", "me/other"])
def test_without_a_network_a_wrong_name_is_told_at_once(model_on_hub, hub_naps, monkeypatch, tmp_path, name):
    load()
    model_on_hub.__exit__(None)
    close_session()
    answers.cache_clear()  # as in a new process
    (tmp_path / "kogpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_config(model_args(name))
    near = " (did you mean kogpt2?)" if name == "KoGPT2" else ""
    assert str(caught.value).startswith(f"{name}: no such folder here{near}, and the Hub cannot be reached; check the path")
    assert load().config.n_embd == 32  # from the cache, whose missing files are not asked for either
    with pytest.raises(UserError, match="the dataset me/rows could not be reached"):
        load_examples(get_task("nli"), DataArguments(dataset="me/rows"), seed=42, splits=("train",))
    assert not (constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE)
    assert hub_naps == []


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
    assert str(caught.value).startswith(f"{arguments.model}: model.safetensors is damaged or cut off (")
    assert str(caught.value).endswith(f"); delete {path} and load it again")
    if where == "cache":
        path.unlink()
        assert load().config.n_embd == 32


@pytest.mark.parametrize("offline", [True, False])
def test_weights_that_are_missing(model_on_hub, monkeypatch, offline):
    arguments = model_args(NAME)
    tokenizer = load_tokenizer(arguments, load_config(arguments))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    model_on_hub.repo(NAME).commit("without weights", {"model.safetensors": None})
    with pytest.raises(UserError) as caught:
        load_model(arguments if offline else model_args(NAME), tokenizer)
    assert str(caught.value) == (
        f"{NAME}: neither model.safetensors nor pytorch_model.bin there; take another model or revision (offline, what "
        "is not in the cache counts as missing: run it once online)"
    )
