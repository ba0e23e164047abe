"""What a run found out: figures beside the baseline, the loss curve, predictions and metrics of each split."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tasks import get_task
from tasks.base import Prediction
from tasks.inference.measuring import format_results, measure
from tasks.training.finishing import finish
from tasks.training.plots import plot_confusion, plot_loss

NLI = get_task("nli")


def nli_examples(*labels: str):
    return [
        NLI.format({"id": str(i), "premise": f"비가 {i}번 온다.", "hypothesis": "맑다.", "label": label})
        for i, label in enumerate(labels)
    ]


class Always:
    """A predictor that answers entailment whatever it is asked."""

    task = NLI
    seed = 42
    settings = {"extractive": False}

    def predict(self, examples):
        return [Prediction(e.id, e.prompt_text, "entailment", e.references, {"entailment": -0.5}) for e in examples]


def fake_trainer(folder, examples, train_metrics=None) -> SimpleNamespace:
    return SimpleNamespace(
        args=SimpleNamespace(output_dir=str(folder), seed=42, do_train=False, do_eval=True, do_predict=True),
        evaluator=SimpleNamespace(predictors=[Always()], examples=examples),
        train_metrics=train_metrics or {},
        resumed_from=None,
        run_config=SimpleNamespace(base_model="me/base"),
        evaluate=lambda: {"eval_loss": 1.25},
        whole_model=contextlib.nullcontext,
        trackers=SimpleNamespace(finish=lambda results, folder: None),
        state=SimpleNamespace(log_history=[{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.25}]),
    )


def test_the_table_shows_figures_beside_their_baseline_and_marks_the_main_one():
    results = {
        "rows": 4, "baseline": "majority label", "accuracy": 0.5, "baseline_accuracy": 0.25, "macro_f1": 0.4,
        "baseline_macro_f1": 0.2, "eval_loss": 1.25, "predict_runtime": 3.0,
        "counts": {"train": {"rows": 12000, "cut": 3}},
    }  # fmt: skip
    assert format_results(NLI, results).splitlines() == [
        "nli on 4 validation rows, beside the baseline (majority label):",
        "  accuracy                     0.5000         0.2500  <- main",
        "  macro_f1                     0.4000         0.2000",
        "  eval_loss                    1.2500               ",
        "  train: 12,000 rows, 3 cut",
    ]


def test_the_table_shows_the_interval_between_a_figure_and_its_baseline():
    results = {
        "rows": 400, "baseline": "word matching", "f1": 8.5, "baseline_f1": 9.375, "exact_match": 64.0,
        "baseline_exact_match": 3.0, "eval_loss": 1.25, "counts": {},
        "intervals": {"f1": [7.25, 9.8765], "exact_match": [59.25, 68.5]},
    }  # fmt: skip
    assert format_results(get_task("qa"), results).splitlines() == [
        "qa on 400 validation rows, beside the baseline (word matching) and in brackets the 95 % interval over the rows:",
        "  f1                           8.5000  [7.250, 9.877]           9.3750  <- main",
        "  exact_match                 64.0000  [59.250, 68.500]         3.0000",
        "  eval_loss                    1.2500                                 ",
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "nli on 4 validation rows, beside the baseline (majority label):"),
        ({"shared_with_train": 0}, "nli on 4 validation rows, beside the baseline (majority label):"),
        (
            {"shared_with_train": 3},
            "nli on 4 validation rows, 3 of which training read too, beside the baseline (majority label):",
        ),
    ],
)
def test_the_table_says_which_rows_training_read_too(counts, expected):
    results = {"rows": 4, "baseline": "majority label", "counts": {"validation": counts}}
    assert format_results(NLI, results).splitlines()[0] == expected


def test_the_table_of_a_run_that_measured_nothing_has_its_counts():
    assert format_results(NLI, {"counts": {"train": {"rows": 2}}}) == "  train: 2 rows"


def test_the_loss_curve_is_a_picture(tmp_path):
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "eval_loss": 1.75}, {"step": 2, "epoch": 1}]
    plot_loss(history, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("font", "language", "expected"),
    [
        ("DejaVu Sans", "ko", ("스텝", "손실 (레이블 토큰당 nat)", ["학습", "검증"])),
        (None, "ko", ("step", "loss (nats per labelled token)", ["training", "validation"])),
        ("DejaVu Sans", "en", ("step", "loss (nats per labelled token)", ["training", "validation"])),
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_plot_speaks_korean_where_it_can_and_names_no_program(tmp_path, monkeypatch, font, language, expected):
    seen, save = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        [axes] = figure.axes
        seen.append((axes.get_xlabel(), axes.get_ylabel(), [text.get_text() for text in axes.get_legend().get_texts()]))
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr("tasks.training.plots.hangul_font", lambda: font)
    plot_loss([{"step": 10, "loss": 2.0}, {"step": 10, "eval_loss": 1.75}], tmp_path / "loss.png", language)
    assert seen == [expected]
    with Image.open(tmp_path / "loss.png") as image:
        image.load()
        assert not image.text


def test_a_run_of_seven_steps_has_points_to_see(tmp_path, monkeypatch):
    lines, save = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        lines.extend((line.get_marker(), line.get_xydata().tolist()) for line in figure.axes[0].lines)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    plot_loss([{"step": 7, "eval_loss": 1.75}, {"step": 7, "train_loss": 2.5}], tmp_path / "loss.png")
    assert lines == [(".", [[7.0, 2.5]]), ("o", [[7.0, 1.75]])]


@pytest.mark.parametrize(("font", "names"), [("DejaVu Sans", ["가", "b", "다"]), (None, ["1", "b", "3"])])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_confusion_matrix_is_drawn_cell_by_cell(tmp_path, monkeypatch, font, names):
    figures, save = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr("tasks.training.plots.hangul_font", lambda: font)
    matrix = {"가": {"가": 3, "b": 1, "다": 0}, "b": {"가": 0, "b": 2, "다": 0}, "다": {"가": 0, "b": 0, "다": 0}}
    plot_confusion(matrix, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "reference")
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    # Numbers at (prediction, reference), shades as shares of the reference's rows; a label without rows has none.
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (x, y): str(count) for y, row in enumerate(matrix.values()) for x, count in enumerate(row.values())
    }
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    with Image.open(tmp_path / "confusion.png") as image:
        image.load()
        assert not image.text


def test_a_large_confusion_matrix_has_no_numbers(tmp_path, monkeypatch):
    figures, save = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    names = [f"l{n}" for n in range(31)]
    plot_confusion({name: {other: int(name == other) for other in names} for name in names}, tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    assert not axes.texts
    assert axes.images[0].get_array().shape == (31, 31)


def test_without_losses_there_is_no_picture(tmp_path):
    plot_loss([{"step": 2, "epoch": 1}], tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def test_the_table_shows_what_free_answers_have():
    results = {"rows": 4, "baseline": "word matching", "f1": 50.0, "free_f1": 40.0, "baseline_f1": 25.0, "counts": {}}
    assert format_results(get_task("qa"), results).splitlines()[1:] == [
        "  f1                          50.0000        25.0000  <- main",
        "  free_f1                     40.0000               ",
    ]


@pytest.mark.parametrize(
    ("task", "row", "scores"),
    [
        (
            "qa",
            {"context": "서울은 한국의 수도이다.", "question": "수도는?", "answers": "서울"},
            {"exact_match": 0.0, "f1": 80.0},
        ),
        ("summarize", {"document": "긴 글이다.", "summary": "서울"}, {"rouge1_words": 0.0, "rouge1_syllables": 0.8}),
    ],
)
def test_predictions_hold_the_figures_of_their_own_row(tmp_path, task, row, scores):
    task = get_task(task)
    examples = [task.format({"id": "0"} | row), task.format({"id": "1"} | row)]
    answers = iter(["서울시", "서울"])

    class Two(Always):
        def predict(self, examples):
            return [Prediction(e.id, e.prompt_text, next(answers), e.references, {}) for e in examples]

    predictor = Two()
    predictor.task = task
    metrics = measure(predictor, examples, tmp_path)
    found = [json.loads(line)["scores"] for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert {name: found[0][name] for name in scores} == scores
    for name in scores:
        assert metrics[name] == pytest.approx((found[0][name] + found[1][name]) / 2, abs=1e-5)
    assert metrics.get("interval_groups") == (1 if task.grouped_by else None)


def test_measure_writes_predictions_and_returns_metrics_beside_the_baseline(tmp_path):
    metrics = measure(Always(), nli_examples("entailment", "neutral", "neutral", "contradiction"), tmp_path)
    assert metrics["rows"] == metrics["interval_groups"] == 4
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [row["scores"] for row in rows] == [{"entailment": -0.5, "accuracy": value} for value in (1.0, 0.0, 0.0, 0.0)]
    assert metrics["accuracy"] == 0.25 and metrics["baseline_accuracy"] == 0.5
    assert metrics["baseline"] == "majority label"
    # One of four is right: draws with none are 81 of 256, with three 12, with four 1. Always the same answer has at most an
    # F1 of 2 * 3 / (4 + 3), a third of it in the mean over the labels.
    assert metrics["intervals"] == {"accuracy": [0.0, 0.75], "macro_f1": [0.0, pytest.approx(2 / 7)]}
    assert [key for key in metrics if "interval" in key or key.endswith("f1")] == [
        "macro_f1",
        "intervals",
        "interval_groups",
        "baseline_macro_f1",
    ]
    assert metrics["predict_runtime"] > 0 and metrics["predict_rows_per_second"] > 0
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert rows[1] == {
        "id": "1", "prompt": "비가 1번 온다.<sep>맑다.<nli>", "prediction": "entailment", "references": ["neutral"],
        "scores": {"entailment": -0.5, "accuracy": 0.0},
    }  # fmt: skip


def test_finish_writes_everything_and_prints_the_figures(tmp_path, capsys):
    examples = {"train": nli_examples("neutral"), "validation": nli_examples("entailment", "neutral"),
                "test": nli_examples("entailment")}  # fmt: skip
    counts = {"train": {"rows": 1, "tokens": 100}, "validation": {"rows": 2}}
    finish(fake_trainer(tmp_path, examples, {"epoch": 3.0, "train_runtime": 10.0, "train_loss": 1.5}), counts)
    results = json.loads((tmp_path / "all_results.json").read_text("utf-8"))
    assert results["task"] == "nli" and results["base_model"] == "me/base" and results["seed"] == 42
    assert (results["eval_loss"], results["accuracy"], results["test_accuracy"]) == (1.25, 0.5, 1.0)
    assert results["intervals"]["accuracy"] == [0.0, 1.0]
    assert results["test_intervals"] == {"accuracy": [1.0, 1.0], "macro_f1": [1 / 3, 1 / 3]}
    assert results["train_tokens_per_second"] == 30.0
    assert results["counts"] == counts
    assert {path.name for path in tmp_path.iterdir()} >= {
        "all_results.json", "predictions.jsonl", "test_predictions.jsonl", "loss.png",
    }  # fmt: skip
    assert "accuracy" in capsys.readouterr().out


def test_a_resumed_run_claims_no_speed(tmp_path):
    trainer = fake_trainer(tmp_path, {"validation": nli_examples("entailment")}, {"epoch": 3.0, "train_runtime": 10.0})
    trainer.resumed_from = "checkpoint-5"
    finish(trainer, {"train": {"tokens": 100}})
    assert "train_tokens_per_second" not in json.loads((tmp_path / "all_results.json").read_text("utf-8"))


def test_without_evaluation_and_prediction_nothing_is_measured(tmp_path):
    trainer = fake_trainer(tmp_path, {"validation": nli_examples("entailment")})
    trainer.args.do_eval = trainer.args.do_predict = False
    finish(trainer, {"train": {"tokens": 1}})
    results = json.loads((tmp_path / "all_results.json").read_text("utf-8"))
    assert "accuracy" not in results and "eval_loss" not in results
    assert not (tmp_path / "predictions.jsonl").exists()


def test_other_processes_than_the_first_answer_their_share_and_write_nothing(tmp_path, monkeypatch):
    for module in ("training.finishing", "inference.measuring"):
        monkeypatch.setattr(f"tasks.{module}.is_first", lambda: False)
    asked = []
    monkeypatch.setattr(Always, "predict", lambda self, examples: asked.append(len(examples)))
    examples = {"validation": nli_examples("entailment"), "test": nli_examples("entailment", "neutral")}
    finish(fake_trainer(tmp_path, examples), {})
    assert asked == [1, 2]
    assert list(tmp_path.iterdir()) == []
