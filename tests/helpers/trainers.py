"""A CompletionTrainer on eight rows with a tiny model, and what tests ask of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from datasets import Dataset
from transformers import TrainerCallback

from tasks import get_task
from tasks.arguments.training import TrainingArguments
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.model.tokenizer import add_separators, load_tokenizer
from tasks.preparing.encoding import Encoder
from tasks.run_folder import RunConfig
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer
from tests.conftest import model_args

TASK = get_task("summarize")

# Of very different lengths, so that a mean of means is not the mean.
SUMMARIES = [
    "참",
    "비가 온다.",
    "서울은 대한민국의 수도이다. 부산은 바다에 접한 도시이다.",
    "책",
    "과일을",
    "도서관에서 책을",
    "시청은 다음 달부터 주말에도 도서관을 연다고 밝혔다.",
    "날씨가 맑다.",
]
ROWS = [
    {"id": str(i), "document": "민준이는 책을 빌렸다." + " 누가" * (i % 3), "summary": s} for i, s in enumerate(SUMMARIES)
]


def make(folder: str, output_dir: Path, score_task=None, dropout: float = 0.0, **overrides) -> CompletionTrainer:
    arguments = model_args(folder)
    tokenizer, appended = add_separators(load_tokenizer(arguments, load_config(arguments)), TASK.separators)
    encoder = Encoder(tokenizer, 128, 16)
    model = load_model(arguments, tokenizer, appended)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    settings = {
        "output_dir": str(output_dir), "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "max_steps": 4,
        "learning_rate": 1e-2, "eval_strategy": "no", "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "logging_strategy": "no", "tokens_per_batch": 0,
    }  # fmt: skip
    rows = Dataset.from_list(encoder.training_rows([TASK.format(row) for row in ROWS]))
    config = RunConfig(
        TASK.name, 1, folder, "document <summarize> summary <eos>",
        {str(s): encoder.separator_id(s) for s in TASK.separators}, {}, 128, 16,
    )  # fmt: skip
    return CompletionTrainer(
        model=model, args=TrainingArguments(**(settings | overrides)), train_dataset=rows, eval_dataset=rows,
        data_collator=CompletionCollator(tokenizer), processing_class=tokenizer, run_config=config,
        evaluator=SimpleNamespace(score=score_task or dict),
    )  # fmt: skip


def weights(model) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def head(model) -> torch.Tensor:
    return model.get_output_embeddings().weight.detach().clone()


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        difference = (found[name] - weight).abs().max().item()
        assert difference <= tolerance, f"{name} is off by {difference}"


class At(TrainerCallback):
    """Do something at the beginning or the end of one step."""

    def __init__(self, step: int, action, event: str = "on_step_end") -> None:
        def call(args, state, control, **kwargs):
            if state.global_step == step:
                action()

        setattr(self, event, call)


def seen_rows(trainer: CompletionTrainer) -> list[list[tuple[int, ...]]]:
    """The rows of every step that follows, as their ids without padding."""
    steps: list[list[tuple[int, ...]]] = []
    plain = trainer.training_step

    def step(model, inputs, *rest):
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist())
        steps.append([tuple(token for token, real in zip(ids, mask) if real) for ids, mask in rows])
        return plain(model, inputs, *rest)

    trainer.training_step = step
    return steps
