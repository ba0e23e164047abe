"""What lint says about the metadata of a card: what was done to a good card, and the exact words."""

from __future__ import annotations

import pytest

from tests.helpers.good_card import CARD, findings

BASE = " is no Hub id; name a Hub id such as skt/kogpt2-base-v2 or leave it out"
DATA = " is no Hub id; name a Hub id such as klue/klue or leave it out"
UNREADABLE = "huggingface_hub does not read the metadata: "
METADATA = [
    ("language: ko\n", "", "README.md: language is missing; write language: ko"),
    ("language: ko", "language: en", "line 2: language does not name ko, which every task here is about"),
    ("language: ko", "language: [en, ja]", "line 2: language does not name ko, which every task here is about"),
    (
        "license: cc-by-nc-sa-4.0\n", "",
        "README.md: license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: CC-BY-NC-SA-4.0",
        "line 3: license CC-BY-NC-SA-4.0 is not a licence id of the Hub; did you mean cc-by-nc-sa-4.0?",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: [mit]",
        "line 3: license ['mit'] is not a licence id of the Hub; did you mean mit?",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: mit",
        "line 3: license does not go with base_model: --license mit: skt/kogpt2-base-v2 is under cc-by-nc-sa-4.0, "
        "and mit drops non-commercial, share-alike; leave --license out to publish under cc-by-nc-sa-4.0",
    ),
    ("pipeline_tag: text-generation\n", "", "README.md: pipeline_tag is missing; write pipeline_tag: text-generation"),
    ("library_name: transformers\n", "", "README.md: library_name is missing; write library_name: transformers"),
    ("base_model: skt/kogpt2-base-v2", "base_model: outputs/nli", "line 6: base_model outputs/nli" + BASE),
    ("base_model: skt/kogpt2-base-v2", "base_model:\n- skt/x\n- ./kogpt2", "line 6: base_model ./kogpt2" + BASE),
    ("base_model: skt/kogpt2-base-v2", "base_model: nli/checkpoint-500", "line 6: base_model nli/checkpoint-500" + BASE),
    ("base_model: skt/kogpt2-base-v2", "base_model: https://hf.co/skt/x", "line 6: base_model https://hf.co/skt/x" + BASE),
    ("base_model: skt/kogpt2-base-v2", "base_model: 한국어 모델", "line 6: base_model 한국어 모델" + BASE),
    ("- klue/klue", "- train.jsonl", "line 8: datasets train.jsonl" + DATA),
    ("- klue/klue", "- {a: 1}", "line 8: datasets {'a': 1}" + DATA),
    ("value: 0.71", "value: .nan", "line 13: the metric accuracy has the value nan, which is no finite number"),
    ("value: 0.71", "value: 71 %", "line 13: the metric accuracy has the value 71 %, which is no finite number"),
    ("value: 0.71", "value: true", "line 13: the metric accuracy has the value True, which is no finite number"),
    (
        "value: 0.71", "value: !!python/object/apply:numpy.core.multiarray.scalar [1]",
        f"line 23: {UNREADABLE}could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:numpy.core.multiarray.scalar'",
    ),
    ("language: ko", "language: 'ko", f"line 25: {UNREADABLE}found unexpected end of stream"),
    ("language: ko", "language: ko\nx: " + "[" * 9_000, f"README.md: {UNREADABLE}maximum recursion depth exceeded"),
    ("language: ko", "language: ko\n2: x", f"README.md: {UNREADABLE}keywords must be strings"),
    ("language: ko", "language: ko\nday: 2024-13-45", f"README.md: {UNREADABLE}month must be in 1..12"),
    ("tags:\n- korean\n- nli", "tags: 3", f"README.md: {UNREADABLE}'int' object is not iterable"),
    (
        "language: ko", "language: ko\nignore_metadata_errors: 1",
        f"README.md: {UNREADABLE}"
        "huggingface_hub.repocard_data.ModelCardData() got multiple values for keyword argument 'ignore_metadata_errors'",
    ),
    (
        "language: ko", "language: ko\neval: <your-eval>",
        "line 3: the placeholder <your-eval>; write what is meant or take it out",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "finding"), METADATA, ids=range(len(METADATA)))
def test_metadata(old, new, finding):
    assert CARD.count(old) == 1
    (found,) = findings(CARD.replace(old, new))
    assert found.startswith(finding)


def test_no_metadata():
    body = CARD.partition("\n---\n")[2]
    missing = "line 1: no metadata; the first line is ---, then comes YAML, then --- again"
    assert findings(body) == [missing]
    assert findings("---\nlanguage: ko\n")[1] == missing
    assert findings(f"---\n---\n{body}")[0] == "README.md: language is missing; write language: ko"
    assert findings(f"---\n- ko\n---\n{body}") == [f"README.md: {UNREADABLE}repo card metadata block should be a dict"]
    assert findings(" \n") == ["README.md: the card is empty"]
    assert findings("\ufeff" + CARD) == ["line 1: a byte order mark hides the metadata; save it as UTF-8 without one"]


def test_license_other():
    card = CARD.replace("license: cc-by-nc-sa-4.0", "license: other").replace("base_model: skt/kogpt2-base-v2\n", "")
    assert findings(card) == ["line 3: license other needs license_name and license_link"]
    more = "license: other\nlicense_name: own\nlicense_link: LICENSE\n"
    assert findings(card.replace("license: other\n", more)) == []


@pytest.mark.parametrize("index", ["3", "[x]", "[{name: x}]", "[{name: x, results: [{task: 1}]}]", "[{results: []}]"])
def test_a_model_index_that_the_hub_cannot_read(index):
    head, body = CARD.partition("model-index:")[0], CARD.partition("\n---\n")[2]
    (found,) = findings(f"{head}model-index: {index}\n---\n{body}")
    assert found.startswith(f"README.md: {UNREADABLE}")
