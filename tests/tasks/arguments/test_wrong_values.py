"""Every flag of training with values that cannot be right: one line before anything is loaded, never a traceback."""

from __future__ import annotations

import dataclasses

import pytest

from tasks import get_task
from tasks.arguments.command_line import parse_arguments
from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError

FLAGS = sorted(field.name for field in dataclasses.fields(TrainingArguments) if field.init)
WRONG = ("-3", "nan", "unheard-of", "{", '{"unheard": "of"}', "1" * 400)


def refused(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_arguments(get_task("nli"), "", list(argv))
    return str(caught.value)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_wrong_value_is_a_line_or_is_taken(flag):
    for value in WRONG:
        try:
            parse_arguments(get_task("nli"), "", [f"--{flag}={value}"])
        except UserError as error:
            assert "--" in str(error) and "\n" not in str(error), value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--report_to wandb", "--report_to wandb: pip install wandb first, or leave the flag out"),
        ("--report_to mlflow", "--report_to mlflow: pip install mlflow first, or leave the flag out"),
        ("--report_to comet_ml", "--report_to comet_ml: pip install comet-ml first, or leave the flag out"),
        ("--report_to wandbb", "--report_to wandbb: no such tracker; known are azure_ml"),
        ("--use_liger_kernel", "--use_liger_kernel: pip install liger-kernel first, or leave the flag out"),
        ("--optim lomo", "pip install lomo-optim"),
        ("--optim adamw_bnb_8bit", "pip install -U bitsandbytes"),
        ("--optim schedule_free_adamw", "pip install schedulefree"),
        ("--attn_implementation flash_attention_2", "pip install flash-attn"),
        ("--lr_scheduler_type polynomial --lr_scheduler_kwargs {\"x\":1}", "unexpected keyword argument 'x'"),
        ("--per_device_train_batch_size 0", "--per_device_train_batch_size is 0; it must be 1 or more"),
        ("--gradient_accumulation_steps -1", "--gradient_accumulation_steps is -1; it must be 1 or more"),
        ("--learning_rate -1", "--learning_rate is -1.0; it must be 0 or more"),
        ("--learning_rate inf", "--learning_rate is inf; it must be 0 or more"),
        ("--num_train_epochs 0", "--num_train_epochs is 0.0; it must be a number over 0"),
        ("--max_steps 0", "--max_steps is 0; it must be 1 or more, or left out for --num_train_epochs"),
        ("--max_grad_norm nan", "--max_grad_norm is nan; it must be 0 or more"),
        ("--weight_decay -0.1", "--weight_decay is -0.1; it must be 0 or more"),
        ("--adam_beta2 1", "--adam_beta2 is 1.0; it must be from 0 to below 1"),
        ("--seed -1", "--seed is -1; it must be 0 or more"),
    ],
)  # fmt: skip
def test_what_cannot_train_is_told_with_its_flag(argv, message, monkeypatch):
    for name in ("wandb", "tensorboard", "comet", "lomo", "bitsandbytes", "schedulefree"):
        for module in ("transformers.integrations.integration_utils", "transformers.trainer_optimizer"):
            monkeypatch.setattr(f"{module}.is_{name}_available", lambda *_: False, raising=False)
    assert message in refused(*argv.split())


@pytest.mark.parametrize("argv", ["--optim adafactor", "--optim sgd --optim_args momentum=0.9", "--max_grad_norm 0",
                                  "--lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs {\"min_lr\":1e-6}",
                                  "--max_steps 1", "--save_total_limit 0", "--warmup_steps 0"])  # fmt: skip
def test_what_can_train_is_taken(argv):
    assert parse_arguments(get_task("nli"), "", argv.split()).training.do_train
