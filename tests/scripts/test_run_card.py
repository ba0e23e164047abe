"""The card that a real run leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tasks.publishing.edits import SECTION, owner_text
from tasks.publishing.lint import lint_path
from tasks.publishing.secrets import find_private, find_secrets
from tests.conftest import write_rows
from tests.scripts.conftest import PLACES, ROWS, read_json

NO_LICENSE = "README.md: license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0"


def sections(folder: Path) -> dict[str, str]:
    return {match["name"]: match["body"] for match in SECTION.finditer((folder / "README.md").read_text("utf-8"))}


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of a finished run, to go on with."""
    return Path(shutil.copytree(finished("nli"), tmp_path / "nli"))


def test_a_run_leaves_a_card_that_lacks_nothing_but_a_licence(finished):
    folder = finished("nli")
    assert [str(finding) for finding in lint_path(folder)] == [NO_LICENSE]
    text = (folder / "README.md").read_text("utf-8")
    assert owner_text(text) == ""
    assert list(sections(folder)) == ["summary", "prompt", "usage", "results", "training", "data", "environment", "use"]
    results = read_json(folder / "all_results.json")
    assert f"**accuracy {results['test_accuracy']:.3f}**" in sections(folder)["summary"]
    # Train, validation and test are one file.
    assert "On 8 test rows, 8 of which training read too: **accuracy" in sections(folder)["summary"]
    assert "8 validation rows, 8 of which are in the training data too, seed 42" in sections(folder)["results"]
    assert "| validation | 8 |" in sections(folder)["data"]
    assert "| 1 | 1.00 |  |" in sections(folder)["training"]  # no loss was logged before the first evaluation
    assert "| `learning_rate` | 0.01 | 3e-05 |" in sections(folder)["training"]
    differ = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\|$", sections(folder)["training"], re.MULTILINE)
    assert differ == ["learning_rate", "num_train_epochs"]


def test_its_report_knows_the_run(finished, files):
    report = read_json(finished("nli") / "run_report.json")
    assert report["base"]["name"] == "kogpt2"
    assert report["base"]["hub_id"] is None  # a folder without a card
    assert [(file["split"], file["name"]) for file in report["data"]["files"]] == [
        ("train", "nli-train.jsonl"), ("validation", "nli-validation.jsonl"), ("test", "nli-validation.jsonl"),
    ]  # fmt: skip
    assert report["data"]["files"][0]["bytes"] == Path(files["nli"][0]).stat().st_size
    assert report["command"] == (
        "python scripts/run_nli.py --model kogpt2 --train_file nli-train.jsonl --validation_file nli-validation.jsonl "
        "--output_dir nli --num_train_epochs 1 --max_new_tokens 12 --test_file nli-validation.jsonl --learning_rate 0.01"
    )
    assert report["model_type"] == "gpt2"
    assert report["parameters"] > 10_000
    assert report["resumed"] is False
    assert report["adds_bos"] is False
    assert report["choices"] == {}
    assert set(report["arguments"]) == set(report["defaults"])
    assert {"learning_rate", "optim", "dtype", "seed"} <= set(report["arguments"])
    assert not {"model", "output_dir", "hub_token", "run_name", "logging_steps"} & set(report["arguments"])


def test_nothing_private_is_in_card_or_report(finished, kogpt2_folder, files):
    folder = finished("nli")
    text = (folder / "README.md").read_text("utf-8")
    report = (folder / "run_report.json").read_text("utf-8")
    for written in (text, report):
        assert find_secrets(written) == find_private(written) == []
        for path in (kogpt2_folder, files["nli"][0], str(folder)):
            assert str(Path(path).parent) not in written
    for row in ROWS["nli"]:
        assert row["premise"] not in text


def test_the_rows_of_a_card_are_the_first_validation_rows(run_script, copy, files, kogpt2_folder, tmp_path):
    train = write_rows(tmp_path / "train.jsonl", [row | {"hypothesis": "날씨가 맑다."} for row in ROWS["nli"]])
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", files["nli"][1],
        "--test_file", train, "--output_dir", copy, "--overwrite_output_dir", "--num_train_epochs", 1,
        "--card_examples", 2, "--card_language", "ko", "--license", "cc-by-4.0",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert lint_path(copy) == []
    text = (copy / "README.md").read_text("utf-8")
    assert "sections: summary, prompt, usage, results, examples, training, data, environment, use, license;" in text
    shown = [place for place in PLACES if place in sections(copy)["examples"]]
    assert shown == PLACES[:2]
    assert "날씨가 맑다." not in text  # neither train nor test
    assert text.count("비가 온다.") == 2
    assert read_json(copy / "run_report.json")["choices"] == {
        "card_language": "ko", "card_examples": 2, "license": "cc-by-4.0",
    }  # fmt: skip


def test_a_resumed_run_says_so_and_keeps_the_owners_text(run_script, copy, files, kogpt2_folder):
    card = copy / "README.md"
    card.write_text(
        card.read_text("utf-8").replace("language: ko\n", "language: ko\nlicense: mit\n") + "\n내가 쓴 글\n", "utf-8"
    )
    train, validation = files["nli"]
    result = run_script(
        "run_nli", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--output_dir", copy,
        "--num_train_epochs", 2, "--max_new_tokens", 12, "--learning_rate", 0.01, "--resume_from_checkpoint", "last",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert read_json(copy / "run_report.json")["resumed"] is True
    training = sections(copy)["training"]
    assert "The run was interrupted and resumed; how long it took in all is not known." in training
    assert "Training took" not in training
    assert "| 2 | 2.00 |" in training
    text = card.read_text("utf-8")
    assert owner_text(text) == "내가 쓴 글"
    assert "split: test" not in text  # of the run before
    assert lint_path(copy) == []  # the licence is the owner's word


def test_a_base_that_was_a_run_is_named(run_script, finished, files, tmp_path):
    base = finished("generate")
    report = json.loads((base / "run_report.json").read_text("utf-8"))
    report["base"] |= {"hub_id": "skt/kogpt2-base-v2", "license": "cc-by-nc-sa-4.0"}
    base = Path(shutil.copytree(base, tmp_path / "generate-run"))
    (base / "run_report.json").write_text(json.dumps(report), "utf-8")
    train, validation = files["qa"]
    result = run_script(
        "run_qa", "--model", base, "--train_file", train, "--validation_file", validation, "--output_dir", tmp_path / "qa",
        "--num_train_epochs", 1, "--max_new_tokens", 12,
    )  # fmt: skip
    assert result.code == 0, result.stderr
    assert lint_path(tmp_path / "qa") == []
    assert "by way of the model `generate-run`" in sections(tmp_path / "qa")["summary"]
    assert "SK Telecom" in sections(tmp_path / "qa")["license"]
    assert "kogpt2-base-v2" in (tmp_path / "qa" / "README.md").read_text("utf-8").split("---")[1]
