"""Muon updates the matrices of the hidden layers as torch's class does, AdamW all other weights, in one optimizer."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from tasks import get_task
from tasks.arguments.command_line import parse_arguments
from tasks.errors import UserError
from tasks.training.muon import muon, orthogonal
from tests.conftest import gpt2

ARGS = SimpleNamespace(learning_rate=0.01, weight_decay=0.1, adam_beta1=0.9, adam_beta2=0.95, adam_epsilon=1e-8)
DECAYED = {"transformer.wte.weight", "transformer.wpe.weight"}


def train(model, optimizers, seed=0):
    """Three steps on random gradients."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


def test_singular_values_are_around_one_in_each_matrix_of_any_shape():
    torch.manual_seed(0)
    for shape in ((2, 8, 24), (2, 24, 8), (1, 16, 16)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.3 and values.max() < 1.3
    assert orthogonal(torch.zeros(1, 4, 4)).abs().max() == 0


def test_a_gpt2_is_updated_as_by_torchs_muon_and_adamw():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has no Muon before 2.9")
    model = gpt2(64)
    twin = copy.deepcopy(model)
    start = copy.deepcopy(model)
    train(model, [muon(model, ARGS, DECAYED)])
    # torch's takes whole parameters alone: query, key and value become three of them, and each is laid back after a step.
    named = dict(twin.named_parameters())
    hidden = {name: p for name, p in named.items() if ".h." in name and p.ndim == 2}
    assert len(hidden) == 8
    parts = {name: [c.detach().clone() for c in p.chunk(3 if "c_attn" in name else 1, dim=1)] for name, p in hidden.items()}
    matrices = torch.optim.Muon(
        [part for each in parts.values() for part in each], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    groups = [
        {"params": [p for n, p in named.items() if n not in hidden and n in DECAYED], "weight_decay": 0.1},
        {"params": [p for n, p in named.items() if n not in hidden and n not in DECAYED], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))

    def give_gradients():
        for name, each in parts.items():
            for part, grad in zip(each, named[name].grad.chunk(len(each), dim=1)):
                part.grad = grad

    train(twin, [SimpleNamespace(step=give_gradients), matrices, adamw])
    for name, weight in model.named_parameters():
        if name in hidden:
            moved, expected = weight - start.get_parameter(name), torch.cat(parts[name], dim=1) - start.get_parameter(name)
            assert (moved - expected).norm() < 0.02 * expected.norm(), name  # torch computes in bfloat16
        else:
            assert torch.equal(weight, named[name]), name


def test_its_state_is_saved_and_restored_to_the_bit():
    whole, first = gpt2(64), gpt2(64)
    optimizer = muon(whole, ARGS, DECAYED)
    train(whole, [optimizer])
    train(whole, [optimizer], seed=1)
    interrupted = muon(first, ARGS, DECAYED)
    train(first, [interrupted])
    resumed = muon(first, ARGS, DECAYED)
    resumed.load_state_dict(copy.deepcopy(interrupted.state_dict()))
    train(first, [resumed], seed=1)
    assert [n for n, p in whole.named_parameters() if not torch.equal(p, first.get_parameter(n))] == []


@pytest.mark.parametrize(
    ("task", "argv", "message"),
    [
        ("nli", (), "--optim muon is for new models, in run_scratch.py; leave it out, and AdamW trains"),
        ("nli", ("--lora_r", "8"), "--optim muon is for new models"),
        (
            "scratch",
            ("--fsdp", "full_shard"),
            "--optim muon needs whole matrices; FSDP and DeepSpeed cut them",
        ),
        ("scratch", ("--deepspeed", "zero.json"), "--optim muon needs whole matrices"),
    ],
)
def test_where_it_cannot_work_it_is_refused(task, argv, message):
    with pytest.raises(UserError, match=message):
        parse_arguments(get_task(task), "", ["--optim", "muon", *argv])


def test_the_run_records_it():
    args = parse_arguments(get_task("scratch"), "", ["--optim", "muon"])
    assert (args.training.optim, args.settings["optim"]) == ("muon", "muon")
