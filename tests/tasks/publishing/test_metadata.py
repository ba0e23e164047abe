"""The front matter: every figure as a plain number, and nothing that is not known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from tasks import get_task
from tasks.publishing.edits import split_front
from tasks.publishing.facts import base_facts
from tasks.publishing.metadata import card_metadata, dataset_fields, metrics_of
from tasks.publishing.report import Base, Data, RunReport
from tests.helpers.full_report import ALL_TASKS, METRICS, bare_report, card, full_report

SHA = {"validation": "sha256:" + "b" * 64, "test": "sha256:" + "c" * 64}


def front(report: RunReport, license: str | None = None) -> dict[str, Any]:
    """The metadata as a reader without this project's classes has it."""
    return yaml.safe_load(card_metadata(report, license=license, name="x").to_yaml())


def figures(metadata: dict[str, Any]) -> dict[str, dict[str, float]]:
    """{split: {name of a metric: value}}"""
    return {
        result["dataset"]["split"]: {metric["name"]: metric["value"] for metric in result["metrics"]}
        for result in metadata["model-index"][0]["results"]
    }


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    found = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            found[prefix + name] = value
    return found


@pytest.mark.parametrize("task", ALL_TASKS)
def test_every_float_of_the_results_is_there(task):
    report = full_report(task)
    assert metrics_of(report.results) == {"eval_loss": 1.53125, **flat(METRICS[task])}
    assert metrics_of(report.results, "test_") == flat(METRICS[task])
    metadata = front(report)
    found = figures(metadata)
    assert list(found) == ["validation", "test"]
    shown = {name: value for name, value in flat(METRICS[task]).items() if not name.startswith("per_label.")}
    assert sorted(found["validation"].values()) == sorted([1.53125, *shown.values()])
    assert sorted(found["test"].values()) == sorted(shown.values())
    assert all(type(value) is float for metrics in found.values() for value in metrics.values())
    types = [metric["type"] for result in metadata["model-index"][0]["results"] for metric in result["metrics"]]
    assert metadata["metrics"] == sorted(set(types))
    for result, rows in zip(metadata["model-index"][0]["results"], (1096, 512)):
        split = result["dataset"]["split"]
        assert result["task"] == {"type": get_task(task).hub_task}
        assert result["dataset"] == {
            "name": "local data", "type": "local-files", "split": split, "revision": SHA[split], "args": {"rows": rows},
        }  # fmt: skip


def test_figures_of_single_labels_are_left_to_the_card():
    assert figures(front(full_report("nli")))["test"] == {"accuracy": 0.65625, "macro-F1": 0.640625}


def test_numpy_numbers_become_plain_ones():
    results = {
        "rows": np.int64(3),
        "eval_loss": np.float32(1.5),
        "accuracy": np.float64(0.25),
        "macro_f1": np.float16(0.5),
        "per_label": {"neutral": {"f1": np.float64(0.75), "support": np.int64(3)}},
    }
    text = card_metadata(bare_report("nli", **results), license=None, name="x").to_yaml()
    assert "!!" not in text
    assert "numpy" not in text
    metadata = yaml.safe_load(text)
    assert figures(metadata)["validation"] == {
        "loss (nats per labelled token)": 1.5, "accuracy": 0.25, "macro-F1": 0.5,
    }  # fmt: skip
    assert metadata["model-index"][0]["results"][0]["dataset"]["args"] == {"rows": 3}


def test_what_is_no_finite_number_is_left_out():
    broken = [math.inf, -math.inf, math.nan, None, "0.5", True, [0.5], np.float64("nan"), {}, {"x": None}]
    for value in broken:
        results = {"rows": 3, "perplexity": value, "bits_per_character": 2.0}
        assert metrics_of(results) == {"bits_per_character": 2.0}
        assert list(figures(front(bare_report("generate", **results)))["validation"]) == ["bits per character"]
    assert "model-index" not in front(bare_report("generate", rows=3, perplexity=math.inf))
    assert "metrics" not in front(bare_report("generate"))
    assert "model-index" not in front(bare_report("generate", perplexity=3.0))  # on how many rows?


def test_times_counts_and_baselines_are_no_metrics():
    results = full_report("nli").results
    for name in ("train_runtime", "total_flos", "epoch", "predict_runtime", "test_predict_runtime", "train_loss"):
        assert isinstance(results[name], float)
        assert name.removeprefix("test_") not in metrics_of(results) | metrics_of(results, "test_")
    assert not [name for name in metrics_of(results) if "baseline" in name or "interval" in name or name.startswith("test")]


class TestDataset:
    def of(self, data: Data, split: str = "validation") -> dict[str, Any]:
        metadata = front(dataclasses.replace(full_report("qa"), data=data))
        (dataset,) = (
            result["dataset"]
            for result in metadata["model-index"][0]["results"]
            if (result["dataset"]["split"] == split) or (split != "test" and result["dataset"]["split"] != "test")
        )
        return dataset

    def test_of_the_hub(self):
        data = Data("hub", "klue/klue", "mrc", "0123abc")
        assert front(dataclasses.replace(full_report("qa"), data=data))["datasets"] == ["klue/klue"]
        expected = {"name": "klue/klue", "type": "klue/klue", "config": "mrc", "revision": "0123abc", "split": "validation"}
        assert self.of(data) == expected | {"args": {"rows": 1096}}
        assert self.of(data, "test") == expected | {"split": "test", "args": {"rows": 512}}
        shared = self.of(dataclasses.replace(data, validation_share=0.05))
        assert shared["split"] == "train (a seeded share of 0.05)"
        assert self.of(dataclasses.replace(data, validation_share=0.05), "test")["split"] == "test"

    def test_files(self):
        def file(split: str, name: str, digit: str) -> dict[str, Any]:
            return {"split": split, "name": name, "sha256": digit * 64, "bytes": 1}

        several = Data("files", files=[file("validation", "a.csv", "a"), file("validation", "b.csv", "b")])
        assert self.of(several)["name"] == "local data"
        assert dataset_fields(several, "validation", file_names=True)["dataset_name"] == "a.csv, b.csv"
        assert "revision" not in self.of(several)  # no one hash
        shared = Data("files", files=[file("train", "t.csv", "d"), file("test", "x.csv", "e")], validation_share=0.1)
        assert dataset_fields(shared, "validation", file_names=True)["dataset_name"] == "t.csv"
        assert self.of(shared)["revision"] == "sha256:" + "d" * 64
        assert self.of(shared, "test")["revision"] == "sha256:" + "e" * 64
        assert dataset_fields(Data("files"), "validation")["dataset_revision"] is None
        assert "datasets" not in front(dataclasses.replace(full_report("qa"), data=shared))

    def test_others(self):
        assert self.of(Data("sample", "qa sample"))["type"] == "local-sample"
        assert self.of(Data("folder", "rows")) == {
            "name": "local data", "type": "local-folder", "split": "validation", "args": {"rows": 1096},
        }  # fmt: skip
        assert self.of(Data())["type"] == "local-data"


class TestBaseAndLicense:
    def test_the_base(self):
        assert front(full_report("qa"))["base_model"] == "skt/kogpt2-base-v2"
        assert front(full_report("qa"))["base_model_relation"] == "finetune"
        for base in (Base(from_scratch=True), Base("my-folder"), Base("scratch-mini", from_scratch=True)):
            metadata = front(dataclasses.replace(full_report("qa"), base=base))
            assert not [key for key in metadata if key.startswith("base_model")]

    def test_the_licence(self):
        assert "license" not in front(full_report("qa"))
        metadata = front(full_report("qa"), "cc-by-nc-sa-4.0")
        assert (metadata["license"], "license_name" in metadata) == ("cc-by-nc-sa-4.0", False)

    def test_another_licence_has_a_name_and_a_link(self):
        exaone = base_facts("LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct")
        metadata = front(dataclasses.replace(full_report("qa"), base=exaone), "other")
        assert {key: metadata[key] for key in ("license", "license_name", "license_link")} == {
            "license": "other",
            "license_name": "exaone",
            "license_link": "https://huggingface.co/LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct/blob/main/LICENSE",
        }


@pytest.mark.parametrize("task", ALL_TASKS)
def test_the_hubs_own_reader_takes_it_as_it_is(task, tmp_path, capfd, caplog):
    for report in (full_report(task), bare_report(task), bare_report(task, rows=1, **METRICS[task])):
        text = card(report, tmp_path / "kogpt2-x", card_language="ko", license="cc-by-nc-sa-4.0")
        loaded = ModelCard(text)
        assert loaded.data.to_dict() == {
            **yaml.safe_load(split_front(text)[0]), **({"model-index": loaded.data.to_dict()["model-index"]}
                                                       if report.results else {})
        }  # fmt: skip
        assert loaded.data.language == "ko"
        assert loaded.data.library_name == "transformers"
        assert loaded.data.pipeline_tag == "text-generation"
        assert loaded.data.tags == list(dict.fromkeys(["korean", task, get_task(task).hub_task]))
        if report.results:
            assert loaded.data.model_name == "kogpt2-x"
            values = {result.metric_name: result.metric_value for result in loaded.data.eval_results}
            shown = {value for name, value in flat(METRICS[task]).items() if not name.startswith("per_label.")}
            assert shown <= set(values.values())
            assert {result.dataset_args["rows"] for result in loaded.data.eval_results} <= {1, 512, 1096}
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
