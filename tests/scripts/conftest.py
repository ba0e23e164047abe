"""Scripts that several tests share the result of, and rows small enough to train on in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import get_task
from tests.conftest import Finished, run_main, write_rows
from tests.helpers.task_rows import PEOPLE, PLACES, TRAINED, rows_of

#: Eight rows a task, each with an answer of its own.
ROWS = {name: rows_of(get_task(name)) for name in TRAINED} | {
    "generate": [{"text": f"{who} {where}에서 책을 빌렸다."} for who, where in zip(PEOPLE, PLACES)],
    "summarize": [
        {"document": f"{who} {where}에서 책을 빌렸다. 날씨가 맑다.", "summary": f"{who} {where}"}
        for who, where in zip(PEOPLE, PLACES)
    ],
    "nli": [
        {"premise": f"{who} {where}에서 자전거를 탔다.", "hypothesis": "비가 온다.", "label": n % 3}
        for n, (who, where) in enumerate(zip(PEOPLE, PLACES))
    ],
    "qa": [
        {"context": f"{who} {where}에서 책을 빌렸다.", "question": "어디에서?",
         "answers": {"text": [where], "answer_start": [len(who) + 1]}}
        for who, where in zip(PEOPLE, PLACES)
    ],
    "classify": [row | {"text_pair": "비가 온다."} for row in rows_of(get_task("classify"))],
}  # fmt: skip


@pytest.fixture(scope="session")
def run_once(tmp_path_factory) -> Callable[..., Finished]:
    """As ``run_script``, for fixtures that outlive one test; ``stdin`` may be a stream, ``cwd`` is a fresh folder."""

    return lambda name, *arguments, stdin="": run_main(name, arguments, stdin, tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """{task: (train file, validation file)}, two files with the same eight rows."""
    folder = tmp_path_factory.mktemp("data")
    return {
        task: tuple(write_rows(folder / f"{task}-{split}.jsonl", rows) for split in ("train", "validation"))
        for task, rows in ROWS.items()
    }


@pytest.fixture(scope="session")
def finished(run_once, kogpt2_folder, files, tmp_path_factory) -> Callable[[str], Path]:
    """``finished("qa")``: the folder of a short run of that task on eight rows, made once."""
    folders: dict[str, Path] = {}

    def folder_of(task: str) -> Path:
        if task not in folders:
            folder = tmp_path_factory.mktemp("runs") / task
            train, validation = files[task]
            result = run_once(
                f"run_{task}", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation,
                "--output_dir", folder, "--num_train_epochs", 1, "--max_new_tokens", 12, "--test_file", validation,
                "--learning_rate", 0.01,
            )  # fmt: skip
            assert result.code == 0, result.stderr
            folders[task] = folder
        return folders[task]

    return folder_of


def read_json(path: Path):
    return json.loads(path.read_text("utf-8"))


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
