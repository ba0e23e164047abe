"""Weights that are on the Hub as pytorch_model.bin alone, as KoGPT2's are: which file of which commit is read, and how."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save

from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tests.conftest import ROOT, model_args, tokenizer_of
from tests.helpers.hub_server import hub_env
from tests.scripts.conftest import ROWS, read_json

pytest_plugins = ["tests.helpers.hub_fixtures"]

NAME = "skt/kogpt2-base-v2"
FLAGS = ("--learning_rate", 0, "--num_train_epochs", 1, "--max_new_tokens", 4)  # what is saved is what was loaded
EMBEDDING = "transformer.wte.weight"


def weights(folder: str, seed: int) -> dict[str, torch.Tensor]:
    """Weights as transformers wrote them in 2021: the tied head too, and the constants of the attention."""
    model = load_model(model_args(folder), tokenizer_of(folder))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    state = model.state_dict()
    for layer in range(2):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(128, 128, dtype=torch.uint8).tril().view(1, 1, 128, 128)
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return state


def as_bin(state: object, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def as_safetensors(state: dict[str, torch.Tensor]) -> bytes:
    return save({name: weight for name, weight in state.items() if name != "lm_head.weight"})


@pytest.fixture
def bare(kogpt2_folder, tmp_path) -> Path:
    """KoGPT2's folder without weights."""
    return Path(shutil.copytree(kogpt2_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))


@pytest.fixture
def kogpt2(hub, bare, kogpt2_folder):
    """The repository of KoGPT2, and the embeddings of its two commits by their ids; safetensors of others in a request."""
    first, second, others = (weights(kogpt2_folder, seed) for seed in range(3))
    files = {path.name: path.read_bytes() for path in bare.iterdir()}
    repo = hub.add_repo(NAME, files | {"pytorch_model.bin": as_bin(first)})
    repo.branch("first")
    repo.commit("weights again", {"pytorch_model.bin": as_bin(second)})
    for title in ("one", "another", "Adding `safetensors` variant of this model"):
        repo.open_pull(title, "SFconvertbot")
    repo.commit("converted", {"model.safetensors": as_safetensors(others)}, branch="refs/pr/3")
    repo.embeddings = {repo.resolve("first").id: first[EMBEDDING], repo.head.id: second[EMBEDDING]}
    return repo


def commit_read(folder: Path, kogpt2) -> str:
    """The commit that report and card of a run name, whose embedding it has to have saved."""
    commit = read_json(folder / "run_report.json")["base"]["revision"]
    assert f"(revision `{commit}`)" in (folder / "README.md").read_text("utf-8")
    assert torch.equal(load_file(folder / "model.safetensors")[EMBEDDING], kogpt2.embeddings[commit])
    assert not list(folder.glob("*.bin"))
    return commit


@pytest.fixture
def rows(hub):
    """The data set that run_summarize.py reads where no other is named."""
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS["summarize"]), table)
    splits = {f"data/{split}-00000-of-00001.parquet": table.getvalue() for split in ("train", "validation", "test")}
    return hub.add_repo("datasets/daekeun-ml/naver-news-summarization-ko", splits)


@pytest.fixture
def typed_run(hub, kogpt2, rows, tmp_path):
    """``typed_run(name, flags...)``: run_summarize.py as it is typed, in a process of its own; the commit that it read."""
    env = hub_env(hub, None, tmp_path / "home") | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    del env["HF_DATASETS_CACHE"], env["DISABLE_SAFETENSORS_CONVERSION"]

    def run(name: str, *more: str, **variables: str) -> str:
        hub.requests.clear()
        words = ["--model", NAME, "--output_dir", tmp_path / name, *FLAGS, *more]
        subprocess.run(
            [sys.executable, "scripts/run_summarize.py", *map(str, words)], cwd=ROOT, env=env | variables, check=True
        )
        assert read_json(tmp_path / name / "run_report.json")["data"]["revision"] == rows.head.id
        # Nobody asks for a conversion; the front page shows whether the Hub answers.
        assert {seen.path for seen in hub.requests if seen.route == "unknown"} <= {"/"}
        return commit_read(tmp_path / name, kogpt2)

    return run


def test_a_run_as_it_is_typed(kogpt2, typed_run):
    assert typed_run("online") == kogpt2.head.id


@pytest.mark.slow
def test_a_run_as_it_is_typed_online_then_offline_and_at_a_revision(hub, kogpt2, typed_run):
    assert typed_run("online") == kogpt2.head.id
    assert typed_run("offline", HF_HUB_OFFLINE="1") == kogpt2.head.id
    assert hub.requests == []
    assert typed_run("older", "--model_revision", "first") == kogpt2.resolve("first").id


def test_a_run_online_then_offline(hub, kogpt2, rows, run_script, tmp_path, monkeypatch):
    for name in ("online", "offline"):
        result = run_script("run_summarize", "--model", NAME, "--output_dir", tmp_path / name, *FLAGS)
        assert result.code == 0, result.stderr
        assert commit_read(tmp_path / name, kogpt2) == kogpt2.head.id
        assert bool(hub.requests) == (name == "online")
        hub.requests.clear()
        for module in (constants, datasets.config):
            monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)


def test_no_thread_is_started(kogpt2, bare, monkeypatch):
    started = []
    monkeypatch.setattr("transformers.modeling_utils.Thread", lambda **call: started.append(call))
    arguments = model_args(NAME)
    model = load_model(arguments, tokenizer_of(str(bare)))
    assert torch.equal(model.get_input_embeddings().weight, kogpt2.embeddings[kogpt2.head.id])
    assert started == []


@pytest.mark.parametrize("layout", ["zip", "before torch 1.6", "sharded"])
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_every_layout_gives_the_same_model(hub, bare, kogpt2_folder, layout, where):
    tokenizer = tokenizer_of(kogpt2_folder)
    expected = load_model(model_args(kogpt2_folder), tokenizer)
    state = weights(kogpt2_folder, 0) | expected.state_dict()
    if layout == "sharded":
        names = list(state)
        for number, part in enumerate((names[::2], names[1::2]), 1):
            (bare / f"pytorch_model-0000{number}-of-00002.bin").write_bytes(as_bin({name: state[name] for name in part}))
        places = {name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin" for number, name in enumerate(names)}
        (bare / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    else:
        (bare / "pytorch_model.bin").write_bytes(as_bin(state, zipped=layout == "zip"))
    if where == "hub":
        hub.add_repo(NAME, {path.name: path.read_bytes() for path in bare.iterdir()})
    model = load_model(model_args(NAME if where == "hub" else str(bare)), tokenizer)
    assert model.state_dict().keys() == expected.state_dict().keys()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    assert torch.equal(model.eval()(ids).logits, expected.eval()(ids).logits)


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_safetensors_beside_it_are_read(hub, bare, kogpt2_folder, where):
    states = [weights(kogpt2_folder, seed) for seed in range(2)]
    (bare / "model.safetensors").write_bytes(as_safetensors(states[0]))
    (bare / "pytorch_model.bin").write_bytes(as_bin(states[1]))
    hub.add_repo(NAME, {path.name: path.read_bytes() for path in bare.iterdir()})
    model = load_model(model_args(NAME if where == "hub" else str(bare)), tokenizer_of(kogpt2_folder))
    assert torch.equal(model.get_input_embeddings().weight, states[0][EMBEDDING])
    assert not [seen for seen in hub.requests if "pytorch_model" in seen.path]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_file_that_would_run_code_is_refused(hub, bare, run_script, files, tmp_path, where, zipped):
    (bare / "pytorch_model.bin").write_bytes(as_bin({"trap": Trap(tmp_path / "sprung")}, zipped))
    hub.add_repo(NAME, {path.name: path.read_bytes() for path in bare.iterdir()})
    name = NAME if where == "hub" else str(bare)
    train, validation = files["summarize"]
    result = run_script("run_summarize", "--model", name, "--train_file", train, "--validation_file", validation, *FLAGS)
    assert result.code == 2
    assert result.error == (
        f"{name}: its weights are a pickle that would run code (posix.mkdir), so it is not read; take a model whose weights "
        "are safetensors, or tensors alone"
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "no file of torch (a git-lfs pointer"),
        (b"", "is damaged or cut off"),
        (as_bin({EMBEDDING: torch.ones(9)})[:300], "is damaged or cut off"),
        (as_bin([torch.ones(9)]), "holds something else than tensors by their names"),
        (as_bin({EMBEDDING: 9}), "holds something else than tensors by their names"),
        (as_bin({"model": {EMBEDDING: torch.ones(9)}}), "weights that its config asks for are not there"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_weights_is_told_in_one_line(bare, content, problem):
    (bare / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_model(model_args(str(bare)), tokenizer_of(str(bare)))
    assert problem in str(caught.value)


@pytest.mark.slow
def test_an_adapter_names_the_commit_of_its_base_and_loads_it(kogpt2, hub, run_script, files, tmp_path, monkeypatch):
    commit, expected = kogpt2.head.id, kogpt2.embeddings[kogpt2.head.id]
    train, validation = files["summarize"]
    result = run_script(
        "run_summarize", "--model", NAME, "--train_file", train, "--validation_file", validation, "--output_dir", "out",
        "--lora_r", 2, *FLAGS, "--push_to_hub", "--hub_model_id", "me/adapter",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    published = hub.repo("me/adapter").files
    for config in (read_json(tmp_path / "out" / "adapter_config.json"), json.loads(published["adapter_config.json"])):
        assert (config["base_model_name_or_path"], config["revision"]) == (NAME, commit)
    assert not [name for name in published if name.endswith(".bin")]

    kogpt2.commit("other weights", {"pytorch_model.bin": as_bin({})})  # main moves on
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        for name in (str(tmp_path / "out"), "me/adapter"):
            arguments = model_args(name)
            load_config(arguments)
            model = load_model(arguments, tokenizer_of(str(tmp_path / "out")))
            rows = model.get_input_embeddings().weight
            assert torch.equal(rows[10:], expected[10:]), (offline, name)
