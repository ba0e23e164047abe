"""What an out-of-memory error ends with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tasks.errors import UserError, explained, is_out_of_memory, user_errors
from tasks.inference.predicting import prediction_advice
from tasks.model.advice import evaluation_advice, training_advice

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1 GiB is free."
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        RuntimeError(CPU),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("No executable batch size found, reached zero."),
        MemoryError(),
    ],
)
def test_it_is_known_by_what_libraries_say(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError(CUDA), OSError(28, "no space")])
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), explained("training", list):
        raise error


def test_the_message_is_one_line_with_three_flags_and_what_was_kept():
    with (
        pytest.raises(UserError) as caught,
        explained("training", lambda: ["--a 1", "--b", "--c", "--d"], lambda: "; x is kept"),
    ):
        raise torch.OutOfMemoryError(CUDA + "\nsecond line")
    assert str(caught.value) == f"out of memory while training ({CUDA}); what helps most: --a 1, or --b, or --c; x is kept"


def test_elsewhere_it_is_an_error_line_too(capsys):
    with pytest.raises(SystemExit) as leave, user_errors():
        raise MemoryError
    assert leave.value.code == 2
    assert capsys.readouterr().err == (
        "error: out of memory while loading (MemoryError); what helps most: a smaller --model, or --max_train_samples and "
        "--max_eval_samples, or --max_length\n"
    )


def arguments(**overrides) -> SimpleNamespace:
    defaults = {
        "tokens_per_batch": None, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False, "bf16": False, "fp16": False, "use_cpu": True, "device": torch.device("cpu"),
        "per_device_eval_batch_size": 16,
    }  # fmt: skip
    return SimpleNamespace(**(defaults | overrides))


FSDP = "several GPUs by accelerate launch --config_file configs/accelerate/fsdp.yaml"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["--per_device_train_batch_size 8 --gradient_accumulation_steps 2", "--gradient_checkpointing",
              "--max_length 64"]),
        ({"tokens_per_batch": 4096, "gradient_checkpointing": True, "use_cpu": False},
         ["--tokens_per_batch 2048", "--bf16", "--max_length 64"]),
        # A batch of one row has nothing to give any more.
        ({"tokens_per_batch": 100, "bf16": True}, ["--gradient_checkpointing", "--max_length 64", "--lora_r 8"]),
        ({"per_device_train_batch_size": 1, "gradient_checkpointing": True}, ["--max_length 64", "--lora_r 8", FSDP]),
    ],
)  # fmt: skip
def test_training_advice_goes_by_what_is_in_use(given, expected):
    model = torch.nn.Linear(10, 10)
    assert training_advice(arguments(**given), model, 128)[:3] == expected


def test_where_the_weights_alone_fill_the_memory_smaller_batches_come_last(monkeypatch):
    model = torch.nn.Linear(1000, 1000, bias=False)  # 16 MB with gradient and moments
    monkeypatch.setattr("tasks.model.advice.total_memory", lambda device: 17e6)
    assert training_advice(arguments(), model, 128)[:2] == ["--lora_r 8", FSDP]
    assert training_advice(arguments(), model, 128, processes=2)[0].startswith("--per_device_train_batch_size")
    assert training_advice(arguments(), model, 128, lora=False)[0] == FSDP
    model.requires_grad_(False)
    assert training_advice(arguments(), model, 128)[0].startswith("--per_device_train_batch_size")


def test_an_adapter_is_not_told_to_become_one():
    model = torch.nn.Linear(10, 10)
    model.peft_config = {}
    assert "--lora_r 8" not in training_advice(arguments(), model, 128)


def test_evaluation_advice():
    assert evaluation_advice(arguments(), 128) == ["--per_device_eval_batch_size 8", "--max_length 64", "--no_do_eval"]
    assert evaluation_advice(arguments(per_device_eval_batch_size=1), 128) == ["--max_length 64", "--no_do_eval"]


@pytest.mark.parametrize(
    ("output_type", "given", "expected"),
    [
        ("multiple_choice", {}, ["--batch_size 8", "--max_length 64", "--dtype bfloat16"]),
        ("generate_until", {}, ["--batch_size 8", "--max_new_tokens 10", "--max_length 64"]),
        ("generate_until", {"num_beams": 4, "num_return_sequences": 4},
         ["--batch_size 8", "--num_beams 2", "--num_return_sequences 2"]),
    ],
)  # fmt: skip
def test_prediction_advice(output_type, given, expected):
    predictor = SimpleNamespace(
        batch_size=16, batch_flag="--batch_size", settings={"num_beams": 1, "max_new_tokens": 20} | given,
        task=SimpleNamespace(output_type=output_type), encoder=SimpleNamespace(max_length=128),
    )  # fmt: skip
    assert prediction_advice(predictor)[:3] == expected
