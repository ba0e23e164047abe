"""Whole cards, what they leave out, and what never gets into them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from tasks import get_task
from tasks.arguments.publishing import PublishArguments
from tasks.base import BOS
from tasks.errors import UserError
from tasks.publishing.card import render_card
from tasks.publishing.edits import SECTION, owner_results, owner_text, read_front, split_front
from tasks.publishing.license import license_for
from tasks.publishing.lint import lint_card
from tasks.publishing.report import Base, Data, RunReport, examples_of
from tasks.run_folder import weight_hashes, write_json
from tasks.wording import number
from tests.helpers.full_report import ALL_TASKS, METRICS, PREDICTIONS, bare_report, card, config_of, full_report, run_folder

CARDS = Path(__file__).parent / "cards"
LANGUAGES = ("en", "ko")
NO_LICENSE = "README.md: license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0"


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "minsu")
    monkeypatch.setattr("socket.gethostname", lambda: "minsu-desktop")


def sections(text: str) -> dict[str, str]:
    return {match["name"]: match["body"] for match in SECTION.finditer(text)}


def test_the_whole_card(tmp_path):
    """Where a change is meant, ``UPDATE_CARDS=1 python -m pytest tests/tasks/publishing/test_card.py`` writes them anew."""
    rendered = {
        "summarize.en.md": card(full_report("summarize"), run_folder(tmp_path / "kogpt2-summarize"), card_examples=2),
        "nli.ko.md": card(full_report("nli"), run_folder(tmp_path / "runs" / "nli-1"), "me/kogpt2-nli", card_language="ko"),
    }
    if os.environ.get("UPDATE_CARDS"):
        for name, text in rendered.items():
            (CARDS / name).write_text(text, "utf-8")
    for name, text in rendered.items():
        assert text == (CARDS / name).read_text("utf-8"), f"{name}: UPDATE_CARDS=1 writes it anew"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("task", ALL_TASKS)
class TestEveryTask:
    def test_a_full_card_is_clean(self, task, language, tmp_path):
        folder = run_folder(tmp_path / "run")
        license = "cc-by-4.0" if get_task(task).from_scratch else None
        text = card(full_report(task), folder, "me/run", card_language=language, license=license, card_examples=3)
        assert lint_card(text, folder=folder, repo_id="me/run") == []
        assert_tidy(text)
        assert owner_text(text) == ""
        known = ["summary", "prompt", "usage", "results", "examples", "training", "data", "environment", "use", "license"]
        assert list(sections(text)) == known
        assert f"<!-- model card sections: {', '.join(known)};" in text

    @pytest.mark.parametrize("measured", [True, False])
    def test_what_is_unknown_is_left_out(self, task, language, measured, tmp_path):
        report = bare_report(task, **({"rows": 3, **METRICS[task]} if measured else {}))
        report.resumed = measured  # that alone makes no section
        text = card(report, tmp_path, card_language=language)
        assert_tidy(text)
        assert [str(finding) for finding in lint_card(text, folder=tmp_path)] == [NO_LICENSE]
        assert "None" not in text
        assert "nan" not in text.lower()
        assert owner_text(text) == ""
        expected = ["summary", "prompt", "usage", "results", "environment", "use"]
        assert list(sections(text)) == [name for name in expected if measured or name != "results"]
        licensed = card(report, tmp_path, card_language=language, license="mit")
        assert lint_card(licensed, folder=tmp_path) == []
        assert_tidy(licensed)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_english_and_korean_say_the_same(task, tmp_path):
    """Everything that needs no translation is there in both: figures, code, names, links, rows of tables, points."""
    folder = run_folder(tmp_path / "run")
    for report in (full_report(task), bare_report(task, rows=3, **METRICS[task])):
        english, korean = (
            sections(card(report, folder, card_language=language, license="cc-by-nc-sa-4.0", card_examples=2))
            for language in LANGUAGES
        )
        assert list(english) == list(korean)
        for name, body in english.items():
            assert untranslated(body) == untranslated(korean[name]), name


def untranslated(body: str) -> dict[str, list[str]]:
    """What has to be equal in every language. Labels of tables and units are not, so figures are taken without them."""
    code = re.findall(r"```.*?```", body, re.DOTALL)
    prose = re.sub(r"```.*?```", "", body, flags=re.DOTALL).replace("less than 1 s", "1초")
    return {
        "code": code,
        "spans": sorted(re.findall(r"`[^`\n]+`", prose)),
        "links": sorted(re.findall(r"\]\(([^)]+)\)", prose)),
        "figures": sorted(re.findall(r"\d[\d,.]*(?<![,.])", prose)),
        "shape": [line[0] for line in prose.splitlines() if line[:1] in ("|", "-", "!", "#", ">", "<")],
        "cells": [str(line.count("|")) for line in prose.splitlines() if line.startswith("|")],
    }


def assert_tidy(text: str) -> None:
    """No gap where something was left out: in spaces, lines, punctuation, tables and lists."""
    body = re.sub(r"```.*?```", "```\n```", split_front(text)[1], flags=re.DOTALL)
    assert text.endswith("-->\n")
    assert not text.endswith("\n\n")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "\n\n\n" not in body
    assert [hit for hit in ("()", "( ", " )", " ,", ",,", ", .", " .", "..", ":.", ": .", "``;") if hit in body] == []
    assert re.findall(r"(?<=[^\s|])  +(?=[^\s|])", body) == []
    lines = body.splitlines()
    for before, line, after in zip(lines, lines[1:], [*lines[2:], ""]):
        if line.startswith("|---"):  # a head above, of as many cells, and a row below
            assert before.count("|") == line.count("|") == after.count("|"), (before, line, after)
        if line.startswith("#") or line.startswith("```"):
            assert before == "" or before.startswith(("<!-- generated", "```")), line
    for name, section in sections(text).items():
        assert section == section.strip(), name


def test_a_hub_base_and_a_hub_dataset(tmp_path):
    report = full_report("generate")
    report.data = Data("hub", "wikimedia/wikipedia", "20231101.ko", "abc123", "cc-by-sa-3.0", validation_share=0.05)
    report.results["counts"]["validation"]["shared_with_train"] = 0
    english = sections(card(report, tmp_path))
    assert english["data"].splitlines()[2] == (
        "[`wikimedia/wikipedia`](https://huggingface.co/datasets/wikimedia/wikipedia), configuration `20231101.ko`, "
        "revision `abc123`, licence cc-by-sa-3.0."
    )
    assert "The validation rows are a seeded random 5 % of the training rows;" in english["data"]
    assert (
        "\n1,096 validation rows (a seeded random 5 % of the training rows, set aside before training), seed 42; baseline: "
        in (english["results"])
    )
    assert "\n512 test rows, seed 42; baseline: " in english["results"]
    korean = sections(card(report, tmp_path, card_language="ko"))
    assert "설정 `20231101.ko`, 리비전 `abc123`, 라이선스 cc-by-sa-3.0." in korean["data"]
    assert "무작위로 떼어 둔 5%이며" in korean["data"]
    assert (
        "\n검증 데이터 1,096행 (학습 전에 학습 데이터에서 시드를 정해 무작위로 떼어 둔 5%), 시드 42; 기준선: "
        in korean["results"]
    )


@pytest.mark.parametrize(
    "data, english, korean",
    [
        (Data("sample", "nli sample", license="cc0-1.0"), "synthetic, CC0", "합성, CC0"),
        (
            Data("folder", "my-rows", choices=["a.csv: summary = 제목", "b.csv: summary = 요약"]),
            "How the columns were read: `a.csv: summary = 제목`; `b.csv: summary = 요약`.",
            "열은 다음과 같이 읽었습니다: `a.csv: summary = 제목`; `b.csv: summary = 요약`.",
        ),
        (Data("folder", "my-rows"), "A data set of the maker's own, `my-rows`.", "제작자가 준비한 데이터셋 `my-rows`."),
    ],
)
def test_other_sources(data, english, korean, tmp_path):
    for language, words in (("en", english), ("ko", korean)):
        report = dataclasses.replace(full_report("nli"), data=data)
        assert words in sections(card(report, tmp_path, card_language=language, card_file_names=True))["data"]
        unnamed = words
        for name in (", `my-rows`", " `my-rows`", "a.csv: ", "b.csv: "):
            unnamed = unnamed.replace(name, "")
        text = card(report, tmp_path, card_language=language)
        assert unnamed in sections(text)["data"]
        assert_tidy(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_of_files_and_people_are_shown_where_that_is_asked_for_alone(language, tmp_path):
    report = full_report("nli")
    for file in report.data.files:
        file["name"] = f"김민수-{file['name']}"
    report.data.choices = ["김민수-train.jsonl: premise = 문장1", "김민수-validation.jsonl: premise = 문장1"]
    report.command = (
        "python scripts/run_nli.py --train_file 김민수-train.jsonl --validation_file=김민수-val.csv --config 김민수.yaml "
        "--output_dir outputs/김민수 --run_name 김민수 --bf16 --hub_model_id=김민수/x --push_to_hub --seed 1"
    )
    hidden = card(report, tmp_path, card_language=language)
    assert "김민수" not in hidden
    assert (
        "python scripts/run_nli.py --train_file TRAIN.jsonl --validation_file=VALIDATION.csv --config CONFIG.yaml "
        "--bf16 --seed 1\n" in hidden
    )
    assert hidden.count("premise = 문장1") == 1
    assert f"| 100,000 | `{'a' * 64}` |" in hidden
    shown = card(report, tmp_path, card_language=language, card_file_names=True)
    assert f"| `김민수-train.jsonl` | 100,000 | `{'a' * 64}` |" in shown
    assert "--train_file '김민수-train.jsonl'" in shown
    assert "--output_dir" not in shown and "--run_name" not in shown


def test_a_korean_card_has_korean_columns_and_metrics(tmp_path):
    report = full_report("nli")
    text = card(report, tmp_path, card_language="ko")
    assert "| 분할 | 행 | 잘못된 행 | 잘린 글 | 토큰 | 레이블 토큰 | 학습과 겹침 |" in text
    assert "| contradiction 재현율 | 0.750 |" in text
    assert "contradiction.recall" not in text


@pytest.mark.parametrize(("language", "words"), [("en", "that share their `context`"), ("ko", "`context`가 같은 행(서로")])
def test_a_card_says_what_its_intervals_draw(language, words, tmp_path):
    report = full_report("qa")
    assert words not in card(report, tmp_path, card_language=language)  # measured before groups were drawn
    report.results["interval_groups"] = 7
    text = card(report, tmp_path, card_language=language)
    assert words in text
    assert_tidy(text)


BASES = [
    (Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2", "v1.0"),
     "(https://huggingface.co/skt/kogpt2-base-v2) (revision `v1.0`). It has",
     "(https://huggingface.co/skt/kogpt2-base-v2)(리비전 `v1.0`) 모델을 미세 조정했습니다."),
    (Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2"),
     "It is a fine-tune of [`skt/kogpt2-base-v2`](https://huggingface.co/skt/kogpt2-base-v2). It has",
     " [`skt/kogpt2-base-v2`](https://huggingface.co/skt/kogpt2-base-v2) 모델을 미세 조정했습니다. 파라미터는"),
    (Base("generate-kogpt2", "skt/kogpt2-base-v2"),
     "(https://huggingface.co/skt/kogpt2-base-v2), by way of the model `generate-kogpt2`. It has",
     "(https://huggingface.co/skt/kogpt2-base-v2) 모델에서 출발해 `generate-kogpt2` 모델을 거쳐 미세 조정했습니다."),
    (Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2", copy="내 모델"),
     "(https://huggingface.co/skt/kogpt2-base-v2) (a local copy, `내 모델`, recognised by its config or vocabulary). It has",
     "(https://huggingface.co/skt/kogpt2-base-v2)(로컬 사본 `내 모델`, 설정이나 어휘로 알아봄) 모델을 미세 조정했습니다."),
    (Base(hub_id="a/b"), "(https://huggingface.co/a/b). It has", "(https://huggingface.co/a/b) 모델을 미세 조정했습니다."),
    (Base("my-model"), "It is a fine-tune of `my-model`. It has", " `my-model` 모델을 미세 조정했습니다."),
    (Base(from_scratch=True), "Tokenizer and model were trained from nothing. It has",
     "토크나이저와 모델을 처음부터 학습했습니다. 파라미터는"),
    (Base("scratch-mini", from_scratch=True), "It is a fine-tune of `scratch-mini`, a model that was trained from nothing.",
     " 처음부터 학습한 `scratch-mini` 모델을 미세 조정했습니다."),
]  # fmt: skip


@pytest.mark.parametrize("base, english, korean", BASES)
def test_where_the_model_comes_from(base, english, korean, tmp_path):
    for language, words in (("en", english), ("ko", korean)):
        text = card(dataclasses.replace(full_report("nli"), base=base), tmp_path, card_language=language)
        assert words in sections(text)["summary"]
        assert_tidy(text)


def test_the_command_names_a_copy_as_others_have_it(tmp_path):
    base = Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2", license="cc-by-nc-sa-4.0", copy="my-copy")
    report = dataclasses.replace(full_report("nli"), base=base, command="python scripts/run_nli.py --model my-copy --bf16")
    for language in LANGUAGES:
        text = sections(card(report, tmp_path, card_language=language))["environment"]
        assert "```bash\npython scripts/run_nli.py --model skt/kogpt2-base-v2 --bf16\n```" in text


@pytest.mark.parametrize("license", ["cc-by-4.0", "CC-BY-NC-SA-4.0", "llama3"])
def test_a_licence_that_asks_for_credit_is_not_settled_while_nobody_is_named(license, tmp_path):
    def settled(base: Base) -> str:
        return license_for(base, None, PublishArguments())

    with pytest.raises(UserError) as caught:
        settled(Base("my-model", license=license))
    assert str(caught.value) == (
        f"the base is the local model 'my-model' under {license.lower()}, which asks for credit to its maker, and nothing "
        "there says who that is; name the Hub id that it is a copy of by --base_model, or publish it first and train on "
        "what was published"
    )
    text = card(dataclasses.replace(full_report("nli"), base=Base("my-model", license=license)), tmp_path)
    assert "license" not in sections(text) and "\nlicense:" not in text
    for base in (Base("my-model", "a/b"), Base("a/b", "a/b"), Base("my-model", from_scratch=True)):
        assert settled(dataclasses.replace(base, license=license)) == license.lower()
    for free in ("mit", "apache-2.0", "cc0-1.0", "gpl-3.0"):
        assert settled(Base("my-model", license=free)) == free


def test_no_better_than_the_baseline_is_said_first(tmp_path):
    better = {"rows": 10, "baseline": "majority label", "accuracy": 0.5, "baseline_accuracy": 0.25}
    texts = {"en": "**That is no better than the baseline", "ko": "**기준선보다 낫지 않으니"}
    for language, words in texts.items():
        for results, worse in (
            (better, False),
            (better | {"accuracy": 0.25}, True),
            (better | {"test_rows": 4, "test_accuracy": 0.2, "test_baseline_accuracy": 0.25}, True),  # measured last
        ):
            text = card(bare_report("nli", **results), tmp_path, card_language=language)
            assert (words in sections(text)["summary"]) is worse
    lower_is_better = {"rows": 10, "bits_per_character": 2.0, "baseline_bits_per_character": 4.0, "baseline": "x"}
    assert texts["en"] not in card(bare_report("generate", **lower_is_better), tmp_path)
    assert texts["en"] in card(bare_report("generate", **lower_is_better | {"bits_per_character": 4.5}), tmp_path)


def test_infinite_and_missing_figures_leave_no_gap(tmp_path):
    # all_results.json has null for what JSON has no number for.
    results = {
        "rows": 3, "perplexity": None, "bits_per_character": 2.0, "eval_loss": None, "baseline": "character unigrams",
        "baseline_bits_per_character": None, "intervals": {"perplexity": [5.0, None], "bits_per_character": [None, None]},
    }  # fmt: skip
    text = card(bare_report("generate", **results), tmp_path)
    assert_tidy(text)
    assert "None" not in text
    rows = [line for line in sections(text)["results"].splitlines() if line.startswith("| ")]
    assert rows == ["| metric | value | 95 % interval | baseline |", "| bits per character | **2.000** |  |  |"]
    assert "On 3 validation rows: **bits per character 2.000**.\n" in text  # nobody has counted those that training read


@pytest.mark.parametrize(
    ("shared", "english", "korean"),
    [
        (0, "On 512 rows that training never saw: **", "학습에 쓰지 않은 512행에서 잰 값: **"),
        (
            1234,
            "On 512 test rows, 1,234 of which training read too: **",
            "테스트 데이터 512행(이 중 1,234행은 학습에도 쓰임)에서 잰 값: **",
        ),
        (None, "On 512 test rows: **", "테스트 데이터 512행에서 잰 값: **"),
    ],
)
def test_what_is_said_of_rows_that_training_read_too(shared, english, korean, tmp_path):
    report = full_report("qa")
    report.results["counts"]["test"].pop("shared_with_train")
    if shared is not None:
        report.results["counts"]["test"]["shared_with_train"] = shared
    for language, expected in (("en", english), ("ko", korean)):
        found = sections(card(report, tmp_path, card_language=language))
        assert expected in found["summary"]
        assert ("1,234" in found["results"]) == (shared == 1234)
        cell = "-" if shared is None else f"{shared:,}"
        name = {"en": "test", "ko": "테스트"}[language]
        assert re.search(rf"^\| {name} \| 512 .* \| {cell} \|$", found["data"], re.MULTILINE)
        assert re.search(r"^\| (train|학습) \| 100,000 .* \| - \|$", found["data"], re.MULTILINE)


def test_a_label_is_chosen_and_not_decoded(tmp_path):
    for language in LANGUAGES:
        assert "max_new_tokens" not in card(full_report("nli"), tmp_path, card_language=language)
        assert "`max_new_tokens=48`" in card(full_report("qa"), tmp_path, card_language=language)
    assert "top_k" not in card(full_report("qa"), tmp_path)  # greedy
    assert "`top_k=50`, `top_p=0.95`, `temperature=1.0`" in card(full_report("generate"), tmp_path)


def test_the_prompt_section_says_what_is_done(tmp_path):
    def prompt(task: str, adds_bos: bool, language: str = "en") -> str:
        report = dataclasses.replace(full_report(task), adds_bos=adds_bos)
        return " ".join(sections(card(report, tmp_path, card_language=language))["prompt"].split())

    assert "without bos or eos in between; the answer ends with `<eos>`" in prompt("qa", False)
    assert "without bos or eos in between and with the tokenizer's bos in front; the answer" in prompt("qa", True)
    assert "않습니다. 맨 앞에는 토크나이저의 bos가 옵니다. 답은" in prompt("qa", True, "ko")
    assert "```text premise <sep> hypothesis <nli> label <eos> ```" in prompt("nli", False)
    assert "It writes one word for each label: entailment `참`, neutral `중립`, contradiction `모순`." in prompt(
        "nli", False
    )
    for task in ("generate", "scratch"):  # their prompt begins with bos: nothing may say otherwise
        assert f"```text {BOS} text <eos> ```" in prompt(task, True)
        assert "without bos" not in prompt(task, True)
        assert "in front" not in prompt(task, True)
    assert "`<answer>`" in prompt("scratch", False)


def test_resumed_runs_do_not_tell_their_seconds(tmp_path):
    for language, words in (("en", "The run was interrupted and resumed"), ("ko", "중단했다가 이어서 학습했으므로")):
        report = dataclasses.replace(full_report("qa"), resumed=True)
        training = sections(card(report, tmp_path, card_language=language))["training"]
        assert words in training
        assert not re.search(r"2\.1 ?(h|시간)|8,123", training)


@pytest.mark.parametrize(
    "seconds, english, korean",
    [(0.3, "less than 1 s", "1초 미만"), (119, "119 s", "119초"), (120, "2 min", "2분"), (7200, "2.0 h", "2.0시간")],
)
def test_durations(seconds, english, korean, tmp_path):
    report = full_report("qa")
    report.results |= {"train_runtime": seconds, "predict_runtime": seconds}
    assert f"Training took {english} (8,123 tokens/s), measuring {english}." in card(report, tmp_path)
    assert f"학습 시간: {korean} (초당 8,123토큰), 측정 시간: {korean}." in card(report, tmp_path, card_language="ko")
    del report.results["predict_runtime"], report.results["train_tokens_per_second"]
    assert f"Training took {english}.\n" in card(report, tmp_path)


def test_numbers():
    values = [0.0, 0.00025, 0.0004999, 0.001, 0.5, 9.9999, 10.0, 635.2776, 1000.0, 51234.56, 2.5e7, -0.25]
    texts = ["0.000", "0.00025", "0.0005", "0.001", "0.500", "10.000", "10.00", "635.28", "1,000.0", "51,234.6", "2.5e+07"]
    assert [number(value) for value in values] == [*texts, "-0.250"]


def test_only_columns_that_are_there_are_explained(tmp_path):
    report = full_report("generate")
    report.results["counts"] = {"train": {"rows": 8, "split": 2, "tokens": 48, "labelled_tokens": 40}}
    assert sections(card(report, tmp_path))["data"].splitlines()[-1] == (
        "`split`: texts that became several sequences; `tokens`: tokens read; "
        "`labelled_tokens`: tokens that count in the loss."
    )
    report.results["counts"] = {"train": {"rows": 8}}
    assert sections(card(report, tmp_path))["data"].splitlines()[-1] == "| train | 8 |"
    assert_tidy(card(report, tmp_path))


def test_settings_that_are_off_one_way_or_the_other_do_not_differ(tmp_path):
    report = full_report("qa")
    report.arguments = {"a": None, "b": False, "c": 3, "d": None, "e": "x|y"}
    report.defaults = {"a": False, "b": None, "c": 3, "d": 2, "e": None}
    training = sections(card(report, tmp_path))["training"]
    differ, _, every = training.partition("<details>")
    assert re.findall(r"^\| `.*", differ, re.MULTILINE) == ["| `d` | None | 2 |", "| `e` | x\\|y | None |"]
    assert re.findall(r"^\| `(.)`", every, re.MULTILINE) == ["a", "b", "c", "d", "e"]


class TestExamples:
    def test_none_unless_asked_for(self, tmp_path):
        folder = run_folder(tmp_path / "run")
        for language in LANGUAGES:
            for asked in ({}, {"card_examples": 0}):
                text = card(full_report("summarize"), folder, card_language=language, **asked)
                assert "examples" not in sections(text)
                for row in PREDICTIONS:
                    for words in (row["prompt"].split("<")[0], *row["references"]):
                        assert words not in text

    def test_the_first_ones_of_the_validation_rows(self, tmp_path):
        folder = run_folder(tmp_path / "run")
        (folder / "train.jsonl").write_text('{"document": "학습 행"}\n', "utf-8")
        (folder / "test_predictions.jsonl").write_text((folder / "predictions.jsonl").read_text("utf-8")[::-1], "utf-8")
        text = card(full_report("summarize"), folder, card_examples=1)
        assert "시청, 주말에도 도서관 연다" in text
        assert "비가" not in text
        assert "셋째" not in text
        assert "학습 행" not in text
        assert len(examples_of(folder, 2)) == 2
        assert len(examples_of(folder, 100)) == 3

    def test_rows_are_shown_as_they_are(self, tmp_path):
        """Markdown and HTML in a row neither vanish, nor format, nor end the section."""
        folder = run_folder(tmp_path / "run")
        assert examples_of(folder, 3)[1:] == [
            {
                "prompt": ["1\\. \\*별\\* \\_밑줄\\_ \\| \\`코드\\` \\<b\\>\\$x\\$ \\</s\\>",
                           "\\- \\~\\~비\\~\\~가 온다 \\# 끝\\<summarize\\>"],
                "prediction": "\\<\\!-- /generated:examples --\\>",
                "reference": "비가 온다 / \\[비\\](http://x.example)",
            },
            {"prompt": ["셋째 행\\<summarize\\>"], "prediction": "-", "reference": "셋째"},
        ]  # fmt: skip
        text = card(full_report("summarize"), folder, card_examples=3)
        assert owner_text(text) == ""
        assert sections(text)["examples"].endswith("- reference: 셋째")

    def test_without_or_with_broken_predictions(self, tmp_path):
        with pytest.raises(UserError, match=r"^--card_examples 2: .*predictions.jsonl is not there; leave the flag out"):
            card(full_report("qa"), tmp_path, card_examples=2)
        for text in ("{", '{"prompt": "x"}', "[]", '{"prompt": 1, "prediction": "", "references": []}'):
            (tmp_path / "predictions.jsonl").write_text(text + "\n", "utf-8")
            with pytest.raises(UserError, match=r"predictions.jsonl: cannot be read \(.*\); leave --card_examples out"):
                card(full_report("qa"), tmp_path, card_examples=2)


class TestLicense:
    def test_stricter_of_base_and_data(self, tmp_path):
        report = full_report("nli")
        assert license_for(report.base, "cc-by-4.0", PublishArguments()) == "cc-by-nc-sa-4.0"
        license = sections(card(report, tmp_path))["license"]
        assert "[Creative Commons Attribution NonCommercial ShareAlike 4.0](https://creativecommons.org/" in license
        assert "is under cc-by-nc-sa-4.0. The data is under cc-by-4.0.\n\nBased on [KoGPT2](" in license
        korean = sections(card(report, tmp_path, card_language="ko"))["license"]
        assert "라이선스는 cc-by-nc-sa-4.0입니다. 데이터의 라이선스는 cc-by-4.0입니다.\n\nSK텔레콤(SKT AI)이 " in korean

    def test_one_that_is_not_settled_is_left_out(self, tmp_path):
        report = full_report("qa")
        report.data.license = "cc-by-nd-4.0"
        text = card(report, tmp_path)
        assert [str(finding) for finding in lint_card(text)] == [NO_LICENSE]
        assert "license" not in sections(text)

    def test_a_no_derivatives_data_set_is_spoken_of(self, tmp_path):
        report = full_report("qa")
        report.data.license = "cc-by-nd-4.0"
        words = {"en": "whether trained weights are one is disputed", "ko": "2차적 저작물인지는 논란이 있으며"}
        for language, said in words.items():
            text = card(report, tmp_path, card_language=language, allow_nd_dataset=True)
            assert said in sections(text)["license"]
            assert_tidy(text)
            assert said not in card(full_report("qa"), tmp_path, card_language=language, allow_nd_dataset=True)

    def test_without_a_link_and_without_a_credit(self, tmp_path):
        report = dataclasses.replace(full_report("nli"), base=Base("my-model"), data=Data())
        assert sections(card(report, tmp_path, license="bsd"))["license"] == "## Licence\n\nBSD licence family."


class TestTemplates:
    def test_an_own_template(self, tmp_path):
        template = tmp_path / "own.md"
        template.write_text("---\n{{ card_data }}\n---\n# {{ name }}: {{ report.config.task }}\n", "utf-8")
        text = card(bare_report("nli"), tmp_path, "me/x", card_template=str(template))
        assert text.endswith("---\n# x: nli\n")

    @pytest.mark.parametrize(
        "source",
        [
            "{{ nmae }}", "{% if %}", "{{ report.nothing }}", "{{ 1/0 }}",
            "{{ name.__class__.__mro__ }}", "{{ cycler.__init__.__globals__.os.getcwd() }}",
        ],
    )  # fmt: skip
    def test_a_broken_one_is_named(self, source, tmp_path):
        template = tmp_path / "own.md"
        template.write_text(source, "utf-8")
        with pytest.raises(UserError, match=r"own.md: the template cannot be used \(.*\); see model_cards/en.md$"):
            card(bare_report("nli"), tmp_path, card_template=str(template))

    def test_one_that_is_not_utf_8_or_gone(self, tmp_path):
        template = tmp_path / "own.md"
        template.write_bytes("한국어".encode("cp949"))
        arguments = PublishArguments(card_template=str(template))
        for _ in range(2):
            with pytest.raises(UserError, match=r"own.md: the template cannot be used"):
                render_card(bare_report("nli"), tmp_path, arguments)
            template.unlink(missing_ok=True)


def test_the_name_is_the_repository_or_the_folder(tmp_path, monkeypatch):
    folder = run_folder(tmp_path / "home" / "minsu" / "요약-모델")
    text = card(full_report("summarize"), folder)
    assert "\n# 요약-모델\n" in text
    assert 'model_id = "요약-모델"' in text
    assert "minsu" not in text
    monkeypatch.chdir(folder)
    assert card(full_report("summarize"), Path(".")) == text
    published = card(full_report("summarize"), folder, "me/kogpt2-summarize")
    assert "\n# kogpt2-summarize\n" in published
    assert 'model_id = "me/kogpt2-summarize"' in published


def test_a_card_of_a_folder_without_a_report(tmp_path):
    folder = run_folder(tmp_path / "old-run")
    config_of("qa", base_model="skt/kogpt2-base-v2").save(folder)
    (folder / "all_results.json").write_text(json.dumps({"rows": 5, **METRICS["qa"]}), "utf-8")
    for language in LANGUAGES:
        text = card(RunReport.load(folder), folder, card_language=language)
        assert_tidy(text)
        assert [str(finding) for finding in lint_card(text, folder=folder)] == [NO_LICENSE]
        assert "`skt/kogpt2-base-v2`" in sections(text)["summary"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_benchmarks_stand_in_the_card_while_the_weights_are_those_that_were_measured(language, tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "model.safetensors").write_bytes(b"weights")
    shared = {"task": "kobest_copa", "version": "1.0", "num_fewshot": 0, "rows": 1000}
    rows = [
        {**shared, "metric": "acc", "value": 0.476, "stderr": 0.0158},
        {**shared, "metric": "f1", "value": 0.4751, "stderr": None},
        {**shared, "task": "kobest", "num_fewshot": None, "rows": None, "metric": "acc", "value": 0.476, "stderr": None},
    ]
    hashes = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    measured = {"lm_eval": "0.4.13", "limit": None, "weights_sha256": hashes, "results": rows}
    write_json(folder / "benchmarks.json", measured)
    text = card(full_report("nli"), folder, "me/run", card_language=language)
    assert lint_card(text, folder=folder, repo_id="me/run") == []
    assert_tidy(text)
    shown = sections(text)["benchmarks"]
    assert "lm-evaluation-harness 0.4.13" in shown
    assert [line for line in shown.splitlines() if line.startswith("| kobest")] == [
        r"| kobest\_copa (1.0) | 0 | 1,000 | acc | 0.476 | 0.016 |",
        r"| kobest\_copa (1.0) | 0 | 1,000 | f1 | 0.475 |  |",
        "| kobest (1.0) |  |  | acc | 0.476 |  |",
    ]
    assert "100" not in shown.replace("1,000", "")
    own, group = (result for result in read_front(text)["model-index"][0]["results"] if "source" in result)
    url = "https://github.com/EleutherAI/lm-evaluation-harness"
    assert own == {
        "task": {"type": "text-generation"},
        "dataset": {"name": "kobest_copa (version 1.0)", "type": "kobest_copa", "args": {"num_fewshot": 0, "rows": 1000}},
        "metrics": [{"type": "acc", "value": 0.476, "name": "acc"}, {"type": "f1", "value": 0.4751, "name": "f1"}],
        "source": {"name": "lm-evaluation-harness 0.4.13", "url": url},
    }
    assert group["dataset"] == {"name": "kobest (version 1.0)", "type": "kobest"} | group["dataset"]
    theirs = text.replace("name: lm-evaluation-harness 0.4.13", "name: Somebody's leaderboard")
    assert (len(owner_results(theirs)), owner_results(text)) == (2, [])  # those of an earlier release are replaced

    write_json(folder / "benchmarks.json", measured | {"limit": 100})
    assert "100" in sections(card(full_report("nli"), folder, card_language=language))["benchmarks"].splitlines()[2]
    assert url not in card(full_report("nli"), folder, card_language=language).split("\n---\n")[0]

    (folder / "model.safetensors").write_bytes(b"trained on")
    assert "benchmarks" not in sections(card(full_report("nli"), folder, card_language=language))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_measured_copy_beside_the_run_stands_in_its_card(language, tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "model.safetensors").write_bytes(b"weights")
    figures = {
        "original": {"accuracy": 0.8125, "rows_per_second": 1.6, "same": 1.0, "megabytes": 538.1},
        "int8": {"accuracy": 0.8, "rows_per_second": 6.875, "same": 0.985, "megabytes": 135.5},
    }
    measured = {"rows": 200, "batch_size": 1, "machine": {"processor": "AMD EPYC", "cores": 2}, "models": figures}
    about = {"run_weights_sha256": weight_hashes(folder), "measured": measured}
    for name, content in (("run-int8", about), ("run-float32", about | {"measured": None}), ("other-int8", about)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "export.json", content)
    text = card(full_report("nli"), folder, "me/run", card_language=language)
    assert lint_card(text, folder=folder, repo_id="me/run") == []
    assert_tidy(text)
    shown = sections(text)["copies"]
    assert "AMD EPYC" in shown
    assert [line.partition("|")[2].partition("|")[2] for line in shown.splitlines() if line.startswith("|")][2:] == [
        " 0.812 | 100.0% | 538.10 | 1.600 |", " 0.800 | 98.5% | 135.50 | 6.875 |",
    ]  # fmt: skip

    (folder / "model.safetensors").write_bytes(b"trained on")
    assert "copies" not in sections(card(full_report("nli"), folder, card_language=language))


def test_a_damaged_benchmarks_json_is_one_line(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "model.safetensors").write_bytes(b"weights")
    hashes = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    write_json(folder / "benchmarks.json", {"weights_sha256": hashes, "results": [{"task": "kobest"}]})
    with pytest.raises(UserError, match="its results or its report are damaged"):
        card(full_report("nli"), folder)
