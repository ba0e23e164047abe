"""Several processes say, learn and measure what one does, whatever the number of rows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer

from tasks import distributed, get_task
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.training import TrainingArguments
from tasks.inference.measuring import measure
from tasks.inference.predicting import Predictor, load_predictor
from tasks.run_folder import RunConfig
from tasks.training.callbacks import LogEvaluateSave
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer
from tests.conftest import model_args
from tests.helpers.ranks import run_together

PEOPLE = ["민준이", "서연이", "시연이", "도준이", "민서", "도연이", "서준이", "연서", "준서", "연도", "서도", "민도", "도민"]
LABELS = ["entailment", "neutral", "contradiction"]

#: Prompts and completions of very different lengths, so that a mean of means is not the mean.
DOCUMENTS = [f"{who} 책을 빌렸다." + " 날씨가 맑다." * (n % 4) for n, who in enumerate(PEOPLE)]
ROWS = {
    "generate": [{"text": text} for text in DOCUMENTS],
    "summarize": [{"document": text, "summary": "서울은 도시 " * (n % 5) + "참"} for n, text in enumerate(DOCUMENTS)],
    "nli": [{"premise": text, "hypothesis": "비가 온다.", "label": LABELS[n % 3]} for n, text in enumerate(DOCUMENTS)],
    "qa": [
        {"context": text * (1 + n % 3), "question": "누가?", "answers": {"text": ["책"], "answer_start": [0]}}
        for n, text in enumerate(DOCUMENTS)
    ],
}


def examples_of(task_name: str, count: int = len(DOCUMENTS)) -> list[Any]:
    task = get_task(task_name)
    return [task.format({"id": str(n)} | row) for n, row in enumerate(ROWS[task_name][:count])]


# Predictions


def predictor_of(folder: str, task_name: str, **settings: Any) -> Predictor:
    arguments = GenerationArguments(**({"max_new_tokens": 6} | settings))
    predictor = load_predictor(model_args(folder), arguments, task_name=task_name, max_length=64, batch_size=4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # larger weights: a fresh model says the same whatever it is asked
        for parameter in predictor.model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.35, generator=generator)
    return predictor


WAYS = [
    ("generate", {"num_samples": 4, "temperature": 2.0}),
    ("summarize", {}),
    ("summarize", {"do_sample": True, "top_k": 0, "temperature": 2.0}),
    ("summarize", {"num_beams": 2}),
    ("nli", {}),
    ("qa", {}),
    ("qa", {"extractive": True}),
]
COUNTS = [1, 2, 3, 5, 13]


def predictions_of(folder: str) -> dict[str, list[Any]]:
    """{way and number of rows: the rows of predictions.jsonl}."""
    found = {}
    for number, (task, settings) in enumerate(WAYS):
        predictor = predictor_of(folder, task, **settings)
        for count in COUNTS:
            rows = [prediction.as_row() for prediction in predictor.predict(examples_of(task, count))]
            found[f"{number} {task} {count}"] = rows
    predictor = predictor_of(folder, "generate", temperature=2.0, top_k=0)
    predictor.settings["num_return_sequences"] = 2
    asked = [predictor.task.input_example({"id": str(n), "text": text}) for n, text in enumerate(DOCUMENTS[:3])]
    found["answers"] = [[prediction.as_row() for prediction in row] for row in predictor.answer(asked)]
    return found


def measured(folder: str, output: Path) -> dict[str, Any]:
    return measure(predictor_of(folder, "qa", extractive=True), examples_of("qa", 3), output)


def shares_of() -> list[Any]:
    sizes = [[], [5], [3, 9], [1, 50, 3, 40, 5, 60, 7]]
    shares = [distributed.share(case) for case in sizes]
    return [[share, distributed.gather(share, [f"row {n}" for n in share])] for share in shares]


# Training


def trainer_of(folder: str, output: Path, kind: type[Trainer] = CompletionTrainer, **overrides: Any) -> Trainer:
    """A trainer over the rows of summarize, 8 in a step of all processes together."""
    predictor = load_predictor(model_args(folder), GenerationArguments(max_new_tokens=16), task_name="summarize")
    tokenizer, encoder = predictor.encoder.tokenizer, predictor.encoder
    batches = distributed.world_size() * overrides.get("gradient_accumulation_steps", 1)
    settings = {
        "output_dir": str(output), "per_device_train_batch_size": 8 // batches, "num_train_epochs": 2,
        "per_device_eval_batch_size": 2, "learning_rate": 0.1, "optim": "sgd", "lr_scheduler_type": "constant",
        "warmup_steps": 0, "eval_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "logging_steps": 1, "tokens_per_batch": 0,
    } | overrides  # fmt: skip
    rows = Dataset.from_list(encoder.training_rows(examples_of("summarize")))
    config = RunConfig.of(predictor.task, folder, None, encoder)
    return kind(
        model=predictor.model, args=TrainingArguments(**settings), train_dataset=rows, eval_dataset=rows,
        data_collator=CompletionCollator(tokenizer), processing_class=tokenizer, run_config=config,
        evaluator=SimpleNamespace(score=dict),
    )  # fmt: skip


def weights(model: torch.nn.Module) -> torch.Tensor:
    """All weights of a model, one behind the other."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def trained(folder: str, output: Path, **settings: Any) -> tuple[torch.Tensor, list[float], float]:
    """The weights after training, the loss of each step, and the mean loss that the run reports."""
    trainer = trainer_of(folder, output, **settings)
    reported = trainer.train().training_loss
    return weights(trainer.model), [line["loss"] for line in trainer.state.log_history if "loss" in line], reported


def resumed(folder: str, output: Path) -> torch.Tensor:
    """The weights of a run that went on from the middle of its second epoch."""
    trainer_of(folder, output, save_strategy="steps", save_steps=3).train()
    trainer = trainer_of(folder, output)
    trainer.train(resume_from_checkpoint=str(output / "checkpoint-3"))
    return weights(trainer.model)


class PastTheWrapper(CompletionTrainer):
    """Calls the model itself in place of what averages the gradients over the processes."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(self.model, inputs, *args, **kwargs)


class PlainSharding(CompletionTrainer):
    """accelerate's sharding, which repeats rows to fill the last batch."""

    def get_train_dataloader(self) -> Any:
        return Trainer.get_train_dataloader(self)


class OwnRest(CompletionTrainer):
    """Leaves steps unlogged at the end, and reports their loss as the plain Trainer does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.remove_callback(LogEvaluateSave)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        Trainer.log(self, logs, start_time)


RIGHT = ("labelled head", "plain head", "accumulation", "logged at the end alone", "batches by tokens")


def right() -> dict[str, dict[str, Any]]:
    """Settings by which two processes learn what one learns."""
    steps = 2 // distributed.world_size()  # batches of a given size: one process takes two of them for the two processes
    by_tokens = {"tokens_per_batch": 96, "gradient_accumulation_steps": steps}
    found = [{}, {"labelled_head": False}, {"gradient_accumulation_steps": 2}, {"logging_steps": 100}, by_tokens]
    return dict(zip(RIGHT, found, strict=True))


BROKEN = {
    "past the wrapper": {"kind": PastTheWrapper},
    "a mean of the processes' means": {"average_tokens_across_devices": False},
    "rows repeated": {"kind": PlainSharding},
    "nothing logged, each its own": {"kind": OwnRest, "logging_steps": 100},
}


class Seen(CompletionTrainer):
    """Notes which rows it learns from: the first token of the document tells them apart."""

    def training_step(self, model: Any, inputs: Any, *args: Any) -> torch.Tensor:
        labelled = (inputs["labels"] != -100).any(-1)
        self.__dict__.setdefault("seen", []).append(inputs["input_ids"][labelled, :4].tolist())
        return super().training_step(model, inputs, *args)


#: Dropout moves the random state of each process differently: 2 epochs show whether they still agree on an order.
ORDERS = {
    "shuffled": {},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "by tokens": {"tokens_per_batch": 96},
}


def seen_by(folder: str, output: Path, **settings: Any) -> list[Any]:
    """The rows of each step."""
    trainer = trainer_of(folder, output, kind=Seen, **settings)
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    trainer.train()
    return trainer.seen


EVALUATED = list(itertools.product([1, 2, 3, 5, 7], [2, 4]))


def losses_of(folder: str, output: Path) -> list[float]:
    """eval_loss for each number of rows and batch size."""
    trainer = trainer_of(folder, output)
    rows, found = trainer.eval_dataset, []
    for count, batch_size in EVALUATED:
        trainer.eval_dataset = rows.select(range(count))
        trainer.args.per_device_eval_batch_size = batch_size
        found.append(trainer.evaluate()["eval_loss"])
    return found


def best_by_metric(folder: str, output: Path) -> tuple[dict[str, float], str]:
    """The metrics of the last evaluation in training, whose score depends on the process, and the best checkpoint."""
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": "rougeL"}
    trainer = trainer_of(folder, output, **settings, greater_is_better=True, load_best_model_at_end=True)
    scores = iter([[0.5, 0.1], [0.4, 0.9]])
    trainer.evaluator.score = lambda: {"rougeL": next(scores)[distributed.rank()]}
    trainer.train()
    last = [entry for entry in trainer.state.log_history if "eval_loss" in entry][-1]
    return last, Path(trainer.state.best_model_checkpoint).name


def everything(folder: str, output: Path) -> dict[str, Any]:
    """All that is compared, in one process or in each of two."""
    found = {
        "predictions": predictions_of(folder),
        "losses": losses_of(folder, output),
        "right": {name: trained(folder, output, **settings) for name, settings in right().items()},
        "seen": {name: seen_by(folder, output, **settings) for name, settings in ORDERS.items()},
    }
    if distributed.world_size() > 1:
        found |= {
            "shares": shares_of(),
            "broken": {name: trained(folder, output, **settings) for name, settings in BROKEN.items()},
            "resumed": resumed(folder, output / "resumed"),
            "best": best_by_metric(folder, output / "best"),
            "measured": measured(folder, output / f"measured-{distributed.rank()}"),
        }
    return found


@pytest.fixture(scope="module")
def alone(kogpt2_folder, tmp_path_factory):
    return everything(kogpt2_folder, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    for rank in range(2):
        (folder / f"measured-{rank}").mkdir()
    return folder


@pytest.fixture(scope="module")
def together(kogpt2_folder, folder):
    return run_together(folder, everything, kogpt2_folder, folder)


def test_shares_are_even_and_hold_every_row_once(together):
    first, second = (answer["shares"] for answer in together)
    assert [share for share, _ in first] == [[], [0], [1], [0, 3, 4, 5]]
    assert [share for share, _ in second] == [[], [], [0], [1, 2, 6]]
    # By size 60 50 40 7 5 3 1, in turn: the first has 60 40 5 1, the second 50 7 3.
    assert [gathered for _, gathered in first] == [[f"row {n}" for n in range(count)] for count in (0, 1, 2, 7)]
    assert [gathered for _, gathered in second] == [gathered for _, gathered in first]


def test_two_processes_predict_what_one_predicts_in_its_order(alone, together):
    for answer in together:
        assert answer["predictions"].keys() == alone["predictions"].keys()
        for way, rows in alone["predictions"].items():
            assert len(answer["predictions"][way]) == len(rows)
            for ours, expected in zip(answer["predictions"][way], rows):
                if way == "answers":
                    assert ours == expected
                    continue
                scores, expected_scores = ours.pop("scores"), dict(expected)["scores"]
                assert ours == {name: value for name, value in expected.items() if name != "scores"}
                assert scores == pytest.approx(expected_scores, abs=1e-3)
    texts = [row["prediction"] for row in alone["predictions"]["2 summarize 13"]]
    assert len(set(texts)) == 13  # else the order of the rows would not show


def test_the_first_process_alone_writes_and_scores(together, folder):
    assert together[0]["measured"]["rows"] == 3 and "free_f1" in together[0]["measured"]
    assert together[1]["measured"] == {}
    assert [path.name for path in (folder / "measured-0").iterdir()] == ["predictions.jsonl"]
    assert list((folder / "measured-1").iterdir()) == []


def test_validation_loss_is_that_of_one_process_whatever_the_rows(alone, together):
    for answer in together:
        assert answer["losses"] == pytest.approx(alone["losses"], rel=1e-6)
    assert together[0]["losses"] == together[1]["losses"]  # not by rounding: the best checkpoint is chosen by it
    assert len({round(loss, 4) for loss in alone["losses"]}) == 5  # one a number of rows, the batch size does not matter


@pytest.mark.parametrize("way", RIGHT)
def test_two_processes_learn_what_one_learns(alone, together, way):
    expected, losses, reported = alone["right"][way]
    for answer in together:
        found, found_losses, found_reported = answer["right"][way]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert found_losses == pytest.approx(losses, rel=1e-5)
        assert found_reported == pytest.approx(reported, rel=1e-5)
    assert len(losses) == (1 if way == "logged at the end alone" else 4)  # the end is always logged
    assert math.isfinite(reported)


def test_the_batch_size_is_divided_and_not_the_learning(alone):
    # The comparison above would be worth nothing where a step changes nothing.
    (first, *_), (second, *_) = alone["right"]["labelled head"], alone["right"]["plain head"]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)
    _, losses, _ = alone["right"]["labelled head"]
    assert losses[0] - losses[-1] > 0.1


@pytest.mark.parametrize(("way", "weights_differ"), [*((way, True) for way in list(BROKEN)[:3]), (list(BROKEN)[3], False)])
def test_each_part_that_makes_them_equal_is_needed(alone, together, way, weights_differ):
    expected, _, reported = alone["right"]["labelled head"]
    found, _, found_reported = together[0]["broken"][way]
    assert ((found - expected).abs().max() > 1e-4) == weights_differ
    assert abs(found_reported - reported) > 1e-4


def test_past_the_wrapper_each_process_learns_alone(together):
    (first, *_), (second, *_) = (answer["broken"]["past the wrapper"] for answer in together)
    assert (first - second).abs().max() > 1e-3
    (first, *_), (second, *_) = (answer["right"]["labelled head"] for answer in together)
    assert torch.equal(first, second)


def test_two_processes_go_on_in_the_middle_of_an_epoch_as_if_never_interrupted(together):
    for answer in together:
        whole, _, _ = answer["right"]["labelled head"]
        torch.testing.assert_close(answer["resumed"], whole, atol=1e-7, rtol=0)


@pytest.mark.parametrize("order", ORDERS)
def test_each_row_is_seen_once_an_epoch(together, order):
    steps = [answer["seen"][order] for answer in together]
    assert len(steps[0]) == len(steps[1])
    half = len(steps[0]) // 2
    for epoch in (slice(0, half), slice(half, None)):
        rows = [tuple(row) for process in steps for step in process[epoch] for row in step]
        assert len(rows) == len(set(rows)) == 13


def test_a_step_has_the_rows_that_one_process_takes(alone, together):
    assert [len(step) for step in together[0]["seen"]["shuffled"]] == [4, 3, 4, 3]
    assert [len(step) for step in together[1]["seen"]["shuffled"]] == [4, 2, 4, 2]
    expected = [sorted(step) for step in alone["seen"]["shuffled"]]
    pairs = zip(*(answer["seen"]["shuffled"] for answer in together))
    assert [sorted(first + second) for first, second in pairs] == expected


def test_the_processes_choose_the_best_checkpoint_by_the_figures_of_the_first(together):
    for metrics, best in (answer["best"] for answer in together):
        assert metrics["eval_rougeL"] == 0.4
        assert best == "checkpoint-2"


def test_one_process_shares_with_nobody():
    assert distributed.share([3, 1, 2]) == [0, 1, 2]
    assert distributed.gather([0, 1, 2], ["a", "b", "c"]) == ["a", "b", "c"]
    assert (distributed.rank(), distributed.world_size(), distributed.is_first()) == (0, 1, True)
    assert distributed.tells_error() and distributed.lost_process(RuntimeError("Connection closed by peer")) is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("[pair.cc:544] Connection closed by peer [127.0.0.1]:7. This is caused by", "Connection closed by peer"),
        ("[pair.cc:1] recv [1.2.3.4]:7: Connection reset by peer", "Connection reset by peer"),
        ("[unbound_buffer.cc:78] Timed out waiting 15000ms for recv operation to complete", "Timed out waiting 15000ms"),
        ("NCCL error: ncclRemoteError: A call failed possibly due to a network error or a remote process exited prematurely",
         "remote process exited"),
    ],
)  # fmt: skip
def test_an_error_that_another_process_is_the_cause_of_is_told_as_that(monkeypatch, error, reason):
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    message = distributed.lost_process(RuntimeError(error))
    assert message.startswith(f"another process of this run has ended or hangs ({reason}); ")
    assert distributed.lost_process(RuntimeError("shapes cannot be multiplied")) is None
    assert distributed.lost_process(ValueError(error)) is None
