"""The flags of an adapter: what they default to, and what does not go together, told before anything is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tasks import get_task
from tasks.arguments import model as adapter_arguments
from tasks.arguments.command_line import parse_arguments
from tasks.arguments.model import FineTuningArguments, ModelArguments
from tasks.arguments.sharding import check_adapter
from tasks.errors import UserError
from tasks.model.adapters import four_bit_config

TASK = get_task("nli")


def parse(*argv: str) -> FineTuningArguments:
    return parse_arguments(TASK, "description", list(argv)).model


def refused(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*argv)
    return str(caught.value)


@pytest.fixture
def with_bitsandbytes(monkeypatch):
    monkeypatch.setattr("transformers.utils.import_utils.is_bitsandbytes_available", lambda: True)


def test_without_flags_all_weights_are_trained():
    arguments = parse()
    assert arguments.lora_r is None and arguments.merge_adapter is False and arguments.load_in_4bit is False


def test_alpha_is_twice_the_rank_unless_given():
    assert (parse("--lora_r", "16").lora_alpha, parse("--lora_r", "16", "--lora_alpha", "16").lora_alpha) == (32, 16)
    assert (parse("--lora_r", "16").lora_dropout, parse("--lora_r", "16").lora_target_modules) == (0.05, "all-linear")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--lora_alpha 8", "--lora_alpha belongs to an adapter; give its rank too: --lora_r 8"),
        ("--lora_dropout 0.1", "--lora_dropout belongs to an adapter; give its rank too: --lora_r 8"),
        ("--lora_target_modules c_attn", "--lora_target_modules belongs to an adapter; give its rank too: --lora_r 8"),
        ("--merge_adapter", "--merge_adapter belongs to an adapter; give its rank too: --lora_r 8"),
        ("--lora_r 0", "--lora_r is 0; it must be 1 or more"),
        ("--lora_r 8 --lora_alpha -1", "--lora_alpha is -1; it must be 1 or more"),
        ("--lora_r 8 --lora_dropout 1", "--lora_dropout is 1.0; it must be from 0 to below 1"),
        ("--lora_r 8 --lora_target_modules q_proj,", "--lora_target_modules 'q_proj,': an empty name; write q_proj,v_proj"),
    ],
)
def test_what_does_not_go_together_is_told(argv, message):
    assert refused(*argv.split()) == message


def test_four_bits_need_an_adapter_and_cannot_be_merged_into(with_bitsandbytes):
    assert refused("--load_in_4bit") == (
        "--load_in_4bit: weights of 4 bits cannot be trained; train an adapter on them: --lora_r 8"
    )
    assert refused("--load_in_4bit", "--lora_r", "8", "--merge_adapter").startswith(
        "--merge_adapter with --load_in_4bit would round the merged weights to 4 bits"
    )
    assert parse("--load_in_4bit", "--lora_r", "8").load_in_4bit is True
    assert ModelArguments(load_in_4bit=True).load_in_4bit is True  # to predict with


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("transformers.utils.import_utils.is_bitsandbytes_available", lambda: False)
    message = (
        "--load_in_4bit needs bitsandbytes 0.46.1 or newer; install it with: pip install -e '.[quantization]', or leave"
    )
    assert refused("--load_in_4bit", "--lora_r", "8").startswith(message)
    monkeypatch.setattr(adapter_arguments, "find_spec", lambda name: None)
    assert refused("--lora_r", "8") == "--lora_r needs PEFT; install it with: pip install -e '.[lora]'"
    assert parse().lora_r is None


def test_a_machine_that_bitsandbytes_has_nothing_for_is_told(with_bitsandbytes, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "bitsandbytes cannot compute on this machine's GPU (mps)" in refused("--load_in_4bit", "--lora_r", "8")


@pytest.mark.parametrize(
    ("cuda", "bfloat16", "compute"),
    [(False, False, torch.float32), (True, True, torch.bfloat16), (True, False, torch.float16)],
)
def test_four_bits_are_computed_in_what_the_device_has(monkeypatch, cuda, bfloat16, compute):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    config = four_bit_config()
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
    assert config.bnb_4bit_compute_dtype is compute


def test_a_model_from_nothing_has_no_adapter():
    with pytest.raises(UserError, match="unknown argument --lora_r"):
        parse_arguments(get_task("scratch"), "", ["--lora_r", "8"])


CLASH = "{} says how long to train on a corpus of known size, so that --{} does not go with it; leave one of them out"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--budget_hours 1 --tokens 5", "--budget_hours and --tokens both say how long to train; give one of them"),
        ("--budget_hours 0", "--budget_hours is 0.0; it must be a number over 0"),
        ("--budget_hours nan", "--budget_hours is nan; it must be a number over 0"),
        ("--budget_hours inf", "--budget_hours is inf; it must be a number over 0"),
        ("--tokens -5", "--tokens is -5; it must be a number over 0"),
        ("--tokens nan", "argument --tokens: invalid int value: 'nan'; see --help"),
        ("--tokens 5 --max_steps 3", CLASH.format("--tokens 5", "max_steps")),
        ("--budget_hours 0.5 --num-train-epochs=3", CLASH.format("--budget_hours 0.5", "num_train_epochs")),
        ("--tokens 1e9 --streaming", CLASH.format("--tokens 1000000000", "streaming")),
    ],
)
def test_a_budget_that_says_nothing_or_too_much_is_refused(argv, message):
    with pytest.raises(UserError) as caught:
        parse_arguments(get_task("scratch"), "", argv.split())
    assert str(caught.value) == message


def test_hours_of_sharded_models_are_not_measured(monkeypatch):
    monkeypatch.setattr("tasks.arguments.command_line.is_sharded", lambda args: True)
    with pytest.raises(UserError, match=r"^--budget_hours 1 says .* that --fsdp or --deepspeed does not go with it; leave"):
        parse_arguments(get_task("scratch"), "", ["--budget_hours", "1"])
    assert parse_arguments(get_task("scratch"), "", ["--tokens", "1e9"]).model.tokens == 10**9


def test_a_budget_names_the_folder_whatever_it_leads_to():
    args = parse_arguments(get_task("scratch"), "", ["--budget_hours", "2", "--architecture", "qwen3", "--bf16", "false"])
    assert args.training.output_dir == "outputs/scratch-qwen3-budget_hours-2"
    assert args.given == {"budget_hours", "architecture", "bf16"}


def test_a_budget_is_for_new_models():
    for flag in ("--budget_hours", "--tokens"):
        with pytest.raises(UserError) as caught:
            parse(flag, "5")
        assert str(caught.value) == f"unknown argument {flag}; leave it out: it is for new models, in run_scratch.py"


@pytest.mark.parametrize("how", ["flag", "launcher"])
def test_an_adapter_under_fsdp_is_refused_by_name(monkeypatch, how):
    monkeypatch.setenv("LOCAL_RANK", "0")
    if how == "launcher":
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    message = "--lora_r under FSDP is not supported; train the adapter by torchrun, with the whole base on each GPU"
    for lora_r in (8, 1):
        with pytest.raises(UserError) as caught:
            check_adapter(SimpleNamespace(fsdp="full_shard" if how == "flag" else ""), lora_r)
        assert str(caught.value) == f"{message} (--load_in_4bit makes it small), or all weights without --lora_r"
    assert check_adapter(SimpleNamespace(fsdp="full_shard"), None) is None
