"""What trackers get of a run, read back from what they wrote."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tasks.errors import UserError
from tests.helpers.trainers import make
from tests.scripts.conftest import read_json, read_jsonl

#: What is drawn over the steps, and what comes once more when the best checkpoint has been measured.
FIGURES = ("eval/loss", "eval/accuracy", "eval/macro_f1", "eval/baseline_accuracy", "eval/baseline_macro_f1")

INSTALLED = [name for name in ("tensorboard", "trackio") if find_spec(name)]


@pytest.fixture(scope="module")
def tracked(run_once, kogpt2_folder, files, tmp_path_factory) -> Path:
    """A folder with a run of two epochs in ``run``, and with what the installed trackers wrote of it."""
    place = tmp_path_factory.mktemp("tracked")
    train, validation = files["nli"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORBOARD_LOGGING_DIR", str(place / "board"))
        patch.setenv("TRACKIO_DIR", str(place / "trackio"))
        result = run_once(
            "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--test_file",
            validation, "--output_dir", place / "run", "--num_train_epochs", 2, "--report_to", ",".join(INSTALLED),
            "--project", "tests",
        )  # fmt: skip
        assert result.code == 0, result.stderr
        yield place


@pytest.mark.skipif("tensorboard" not in INSTALLED, reason="tensorboard is not installed")
def test_tensorboard(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results = read_json(tracked / "run" / "all_results.json")
    board = EventAccumulator(str(tracked / "board"))
    board.Reload()
    for name in FIGURES:
        points = board.Scalars(name)
        assert [point.step for point in points][:2] == [1, 2]
        assert points[-1].step == 2
    assert board.Scalars("eval/accuracy")[-1].value == pytest.approx(results["accuracy"])
    assert board.Scalars("eval/baseline_accuracy")[0].value == pytest.approx(results["baseline_accuracy"])
    assert board.Scalars("test/accuracy")[-1].value == pytest.approx(results["test_accuracy"])
    tables = board.Tensors("eval/predictions/text_summary")
    assert [table.step for table in tables] == [1, 2, 2]
    head, _, first, *_ = tables[-1].tensor_proto.string_val[0].decode().splitlines()
    row = read_jsonl(tracked / "run" / "predictions.jsonl")[0]
    assert head == "|id|prompt|prediction|references|"
    assert first == f"|{row['id']}|{row['prompt'].replace('<', '&lt;')}|{row['prediction']}|{row['references'][0]}|"
    assert len(list((tracked / "board").iterdir())) == 1  # one writer from the first step to the last measurement


@pytest.mark.skipif("trackio" not in INSTALLED, reason="trackio is not installed")
def test_trackio(tracked):
    from trackio.sqlite_storage import SQLiteStorage

    results = read_json(tracked / "run" / "all_results.json")
    assert SQLiteStorage.get_runs("tests") == ["run"]
    logs = SQLiteStorage.get_logs("tests", "run")
    for name in FIGURES:
        assert [log["train/global_step"] for log in logs if name in log][:2] == [1, 2]
    assert [log["eval/accuracy"] for log in logs if "eval/accuracy" in log][-1] == pytest.approx(results["accuracy"])
    assert [log["test/accuracy"] for log in logs if "test/accuracy" in log] == [pytest.approx(results["test_accuracy"])]
    tables = [log["eval/predictions"] for log in logs if "eval/predictions" in log]
    assert len(tables) == 3
    row = read_jsonl(tracked / "run" / "predictions.jsonl")[0]
    assert tables[-1]["_value"][0] == {name: row[name] for name in ("id", "prompt", "prediction")} | {
        "references": row["references"][0]
    }


@pytest.mark.skipif("tensorboard" not in INSTALLED, reason="tensorboard is not installed")
def test_a_tracker_that_cannot_start_is_one_line(kogpt2_folder, tmp_path, monkeypatch):
    def unknown(*args: object, **kwargs: object) -> None:
        raise RuntimeError("api_key not configured\n(no-tty)")

    monkeypatch.setattr("transformers.integrations.TensorBoardCallback.on_train_begin", unknown)
    with pytest.raises(UserError) as caught:
        make(kogpt2_folder, tmp_path, report_to="tensorboard").train()
    assert str(caught.value) == (
        "--report_to: tensorboard cannot start (api_key not configured (no-tty)); set it up, or leave the flag out"
    )


def test_an_untracked_run_predicts_once(run_script, kogpt2_folder, files, tmp_path, monkeypatch):
    train, validation = files["nli"]
    monkeypatch.setattr("tasks.inference.measuring.Evaluator.score", lambda self: pytest.fail("predicted while training"))
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir",
        tmp_path / "run", "--num_train_epochs", 1,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert "baseline" not in json.dumps(read_json(tmp_path / "run" / "trainer_state.json"))
