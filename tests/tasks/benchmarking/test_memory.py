"""The memory that training takes: parameters as transformers counts them, activations as autograd keeps them."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from tasks.benchmarking.memory import CONFIGS, GIB, Shape, activation_bytes, gigabytes, state_bytes, tables
from tasks.model.speedups import fuse_gelu, head_on_labels_only
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def shapes() -> dict[str, Shape]:
    return {name: Shape(config) for name, config in CONFIGS.items()}


def test_the_names_say_how_many_parameters(shapes):
    millions = {name: round(shape.parameters / 1e6) for name, shape in shapes.items()}
    assert millions == {"125 M": 125, "355 M": 356, "774 M": 775, "1.5 B": 1559, "3 B": 3213, "7 B": 6738}


def test_adapter_parameters_are_those_of_peft(shapes):
    peft = pytest.importorskip("peft")
    for name in ("125 M", "3 B"):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(CONFIGS[name])
            model = peft.get_peft_model(
                model, peft.LoraConfig(r=8, target_modules="all-linear", fan_in_fan_out=name == "125 M")
            )
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert shapes[name].adapter_parameters(8) == trained


def test_bytes_a_parameter(shapes):
    # 16 in float32, 2 for the half-precision copy; of 7 B that is what the ZeRO paper's 16 a parameter came to, and 2 more.
    shape = shapes["125 M"]
    assert state_bytes(shape) == 18 * shape.parameters
    adapter = 12 * 8 * ((768 + 2304) + (768 + 768) + 2 * (768 + 3072))
    assert state_bytes(shape, "LoRA") == 2 * shape.parameters + 18 * adapter
    # FSDP: a sixteenth of the states less a process, but what is whole for a moment stays.
    halves = [state_bytes(shape, processes=n) for n in (2, 4)]
    assert halves[0] - halves[1] == 16 * shape.parameters / 4
    # QLoRA: 7 B in about half a byte each, as the paper's guanaco-7b in 5 GB.
    assert state_bytes(shapes["7 B"], "QLoRA") / GIB == pytest.approx(4.7, abs=0.5)


def kept_bytes(model, tokens: int) -> int:
    """Bytes that autograd keeps for the backward pass of one row, without the weights."""
    sizes: dict[int, int] = {}
    kept = []  # alive, so that no address is given out twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    ids = torch.randint(3, 500, (1, tokens))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(input_ids=ids, labels=ids, use_cache=False)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for address, size in sizes.items() if address not in weights)


TINY = {
    "gpt2": GPT2Config(vocab_size=512, n_layer=2, n_embd=256, n_head=4, n_positions=512, attn_pdrop=0.0),
    "llama": LlamaConfig(
        vocab_size=512, num_hidden_layers=2, hidden_size=256, intermediate_size=704, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_activations_are_those_that_autograd_keeps(name):
    shape = Shape(TINY[name])

    def a_token(layers: int) -> float:
        """Two lengths, so that what does not depend on the tokens, such as halved weights, drops out."""
        config = copy.deepcopy(TINY[name])
        config.num_hidden_layers = layers
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).train()
        fuse_gelu(model)
        head_on_labels_only(model)
        return (kept_bytes(model, 384) - kept_bytes(model, 128)) / 256

    measured = (a_token(4) - a_token(2)) / 2
    # On a CPU the output of attention is laid out again, which is a copy more than on a GPU.
    assert shape.activations == pytest.approx(measured, rel=0.1)


def test_checkpointing_keeps_one_layer_and_the_inputs_of_the_others():
    shape = Shape(GPT2Config(vocab_size=1000, n_layer=10, n_embd=64, n_head=4))
    all_of_it = activation_bytes(shape, 100, labelled=0)
    assert all_of_it == 100 * 10 * shape.activations
    assert activation_bytes(shape, 100, labelled=0, checkpointing=True) == 100 * (shape.activations + 10 * 64 * 4)
    # Logits: 2 + 4 + 4 bytes for each labelled token and each token of the vocabulary.
    assert activation_bytes(shape, 100, labelled=0.5) - all_of_it == 50 * 1000 * 10


def test_more_processes_and_smaller_methods_need_less(shapes):
    for shape in shapes.values():
        needs = [gigabytes(shape, processes=n, checkpointing=True) for n in (1, 2, 4, 8)]
        assert needs == sorted(needs, reverse=True)
        needs = [gigabytes(shape, method, checkpointing=True) for method in ("full", "LoRA", "QLoRA")]
        assert needs == sorted(needs, reverse=True)


@pytest.mark.parametrize("page", ["gpus.md", "gpus.ko.md"])
def test_the_documentation_has_these_figures(page):
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert all(table in text for table in tables())
