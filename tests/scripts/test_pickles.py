"""No pickle of a model folder or a checkpoint is ever run, whatever its name is; nor is code that came along."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.arguments.generation import GenerationArguments
from tasks.errors import UserError
from tasks.inference.predicting import load_predictor
from tests.conftest import model_args

#: What torch, transformers, peft, accelerate and the older tokenizers have read pickles from.
NAMES = [
    "pytorch_model.bin", "pytorch_model-00001-of-00001.bin", "model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl",
    "consolidated.00.pth", "adapter_model.bin", "adapter_model.pt", "training_args.bin", "optimizer.pt", "optimizer.bin",
    "scheduler.pt", "scaler.pt", "rng_state.pth", "rng_state_0.pth", "random_states_0.pkl", "custom_checkpoint_0.pkl",
    "mp_rank_00_model_states.pt", "tf_model.h5", "flax_model.msgpack", "tokenizer.pkl", "tokenizer.bin", "vocab.pkl",
    "vocab.bin", "spiece.model", "tokenizer.model", "corpus.bin", "data.pkl", "head.bin",
]  # fmt: skip

CODE = "open({marker!r}, 'w').close()\n"


class Payload:
    """An object whose unpickling leaves a mark."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "it-ran"


def plant(path: Path, marker: Path, kind: str) -> None:
    """A plain pickle, or one in torch's zip file."""
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    else:
        torch.save({"weight": Payload(marker)}, path)


def load(folder: Path):
    return load_predictor(model_args(str(folder)), GenerationArguments(), task_name="nli")


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_the_payload_of_these_tests_works(tmp_path, marker, kind):
    plant(tmp_path / "x.bin", marker, kind)
    with contextlib.suppress(Exception):
        torch.load(tmp_path / "x.bin", weights_only=False)
    assert marker.exists()


@pytest.fixture
def folder(kogpt2_folder, tmp_path) -> Path:
    return Path(shutil.copytree(kogpt2_folder, tmp_path / "model"))


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_pickles_beside_the_weights_are_left_alone(folder, marker, kind):
    for name in NAMES:
        plant(folder / name, marker, kind)
    assert load(folder).task.name == "nli"
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_pickles_in_place_of_the_weights_are_refused(folder, marker, kind):
    for name in NAMES:
        plant(folder / name, marker, kind)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"would run code \(io\.open\)" if kind == "zip" else "no file of torch"):
        load(folder)
    plant(folder / "model.safetensors", marker, kind)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged or cut off"):
        load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_an_index_that_names_a_pickle(folder, marker, index):
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    plant(folder / "evil.bin", marker, "zip")
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "evil.bin")}))
    with pytest.raises(UserError):
        load(folder)
    assert not marker.exists()


def test_a_config_that_names_a_pickle(folder, marker):
    plant(folder / "adapter_model.bin", marker, "zip")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "adapter_model.bin"}))
    with pytest.raises(UserError, match=r"its weights are a pickle that would run code \(io\.open\)"):
        load(folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_came_along_is_not_run(folder, marker, name):
    for module in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (folder / f"{module}.py").write_text(CODE.format(marker=str(marker)) + "class Evil: pass\n")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE.format(marker=str(marker)))
    classes = {
        "config.json": {
            "model_type": "evil",
            "auto_map": {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "EvilTokenizer",
            "auto_map": {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]},
        },
    }
    path = folder / name
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps(before | classes[name]))
    with contextlib.suppress(UserError):
        load(folder)
    assert not marker.exists()


@pytest.fixture(scope="module")
def trained(run_once, kogpt2_folder, files, tmp_path_factory):
    """A run of two epochs, of which the first has a checkpoint, and the arguments that made it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train, validation = files["generate"]
    arguments = [
        "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--num_train_epochs", 2,
        "--per_device_train_batch_size", 4, "--max_new_tokens", 4, "--num_samples", 1, "--save_total_limit", 3,
    ]  # fmt: skip
    result = run_once("run_generate", *arguments, "--output_dir", folder)
    assert result.code == 0, result.stderr
    return folder, arguments


@pytest.mark.parametrize("kind", ["pickle", "zip"])
@pytest.mark.parametrize("weights", [True, False])
def test_pickles_in_a_checkpoint_are_not_run(trained, run_once, tmp_path, marker, kind, weights):
    source, arguments = trained
    folder = Path(shutil.copytree(source, tmp_path / "run"))
    checkpoint = min(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in folder.glob("checkpoint-*"):
        if path != checkpoint:
            shutil.rmtree(path)
    for name in NAMES:
        plant(checkpoint / name, marker, kind)
    if not weights:
        (checkpoint / "model.safetensors").unlink()
    with contextlib.suppress(Exception):  # how a damaged checkpoint is told is tested elsewhere
        run_once("run_generate", *arguments, "--output_dir", folder, "--resume_from_checkpoint", checkpoint)
    assert not marker.exists()
