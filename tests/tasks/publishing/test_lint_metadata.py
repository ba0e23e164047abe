"""What lint says about the metadata of a card: what was done to a good card, and the exact words."""

from __future__ import annotations

import pytest

from tasks.publishing.hub_names import LANGUAGE_CODES, LIBRARY_NAMES, PIPELINE_TAGS
from tests.helpers.good_card import CARD, findings

BASE = "; name a Hub id such as skt/kogpt2-base-v2 or leave it out"
DATA = "; name a Hub id such as klue/klue or leave it out"
METADATA = [
    ("language: ko\n", "", "README.md: language is missing; write language: ko"),
    ("language: ko", "language: [ko, xx]", "line 2: language xx is no ISO 639-1 code such as ko"),
    ("language: ko", "language:\n- ko\n- kor", "line 4: language kor is no ISO 639-1 code such as ko"),
    ("language: ko", "language: [ko, no]", 'line 2: language: no is read as "false"; put it in quotes'),
    ("language: ko", "language: en", "line 2: language does not name ko, which every task here is about"),
    (
        "license: cc-by-nc-sa-4.0\n", "",
        "README.md: license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: CC-BY-NC-SA-4.0",
        "line 3: license CC-BY-NC-SA-4.0 is unknown to the Hub; is it cc-by-nc-sa-4.0?",
    ),
    ("license: cc-by-nc-sa-4.0", "license: [mit]", "line 3: license ['mit'] is unknown to the Hub; is it mit?"),
    (
        "license: cc-by-nc-sa-4.0", "license: mit",
        "line 3: license does not go with base_model: --license mit: skt/kogpt2-base-v2 is under cc-by-nc-sa-4.0, "
        "and mit drops non-commercial, share-alike; leave --license out to publish under cc-by-nc-sa-4.0",
    ),
    ("pipeline_tag: text-generation\n", "", "README.md: pipeline_tag is missing; write pipeline_tag: text-generation"),
    (
        "pipeline_tag: text-generation", "pipeline_tag: text_generation",
        "line 5: pipeline_tag text_generation is unknown to the Hub; is it text-generation?",
    ),
    ("library_name: transformers\n", "", "README.md: library_name is missing; write library_name: transformers"),
    ("library_name: transformers", "library_name: 7", "line 4: library_name 7 is unknown to the Hub"),
    (
        "base_model: skt/kogpt2-base-v2", "base_model: outputs/nli",
        "line 6: base_model outputs/nli is a path on one machine" + BASE,
    ),
    (
        "base_model: skt/kogpt2-base-v2", "base_model:\n- skt/kogpt2-base-v2\n- ./kogpt2",
        "line 8: base_model ./kogpt2 is a path on one machine" + BASE,
    ),
    (
        "base_model: skt/kogpt2-base-v2", "base_model: nli/checkpoint-500",
        "line 6: base_model nli/checkpoint-500 is a path on one machine" + BASE,
    ),
    (
        "base_model: skt/kogpt2-base-v2", "base_model: https://hf.co/skt/x",
        "line 6: base_model https://hf.co/skt/x is a link" + BASE,
    ),
    (
        "base_model: skt/kogpt2-base-v2", "base_model: 한국어 모델",
        "line 6: base_model 한국어 모델 is no Hub id" + BASE,
    ),
    (
        "base_model: skt/kogpt2-base-v2\n", "",
        "line 6: base_model_relation without base_model; name the base model or leave both out",
    ),
    (
        "base_model_relation: finetune", "base_model_relation: fine-tune",
        "line 7: base_model_relation fine-tune is unknown to the Hub; is it finetune?",
    ),
    (
        "- klue/klue", "- train.jsonl",
        "line 9: datasets train.jsonl is a path on one machine" + DATA,
    ),
    ("- klue/klue", "- {a: 1}", "line 9: datasets {'a': 1} is no text" + DATA),
    ("datasets:\n- klue/klue", "datasets: []", "line 8: datasets is empty" + DATA),
    ("tags:\n- korean\n- nli", "tags: korean", "line 10: tags is no list of texts; write one a line, as in - korean"),
    ("- nli\n", "- 2024\n", "line 10: tags is no list of texts; write one a line, as in - korean"),
    (
        "type: text-classification", "type: nli-task",
        "line 17: task.type nli-task is unknown to the Hub",
    ),
    ("- name: kogpt2-nli\n  results", "- results", "line 14: an entry of model-index has no name"),
    ("    dataset:\n      name: KLUE NLI\n", "    dataset:\n", "line 18: a result of model-index has no dataset.name"),
    (
        "      name: KLUE NLI\n      type: klue/klue\n", "      name: KLUE NLI\n",
        "line 18: a result of model-index has no dataset.type",
    ),
    ("    - type: accuracy\n      value", "    - value", "line 22: a metric of model-index has no type"),
    ("value: 0.71", "note: 0.71", "line 22: the metric accuracy has no value"),
    ("value: 0.71", "value: .nan", "line 23: the metric accuracy has the value nan, which is no finite number"),
    ("value: 0.71", "value: 71 %", "line 23: the metric accuracy has the value 71 %, which is no finite number"),
    ("value: 0.71", "value: true", "line 23: the metric accuracy has the value True, which is no finite number"),
    (
        "value: 0.71", "value: !!python/object/apply:numpy.core.multiarray.scalar [1]",
        "line 23: the tag !!python/object/apply:numpy.core.multiarray.scalar; write a plain number or text",
    ),
    ("value: 0.71", "value: !own 1", "line 23: the tag !own; write a plain number or text"),
    ("language: ko", "language: ko\nlanguage: en", "line 3: the key language stands here a second time; keep one"),
    ("value: 0.71", "value: 0.71\n      value: 0.72", "line 24: the key value stands here a second time; keep one"),
    ("language: ko", "language: ko\nx: " + "[" * 9_000, "line 3: the metadata is nested more than 20 levels deep"),
    ("language: ko", "language: &l ko\ntag: *l", "line 3: an alias (*) in the metadata; write the value out"),
    ("language: ko", "language: 'ko", "line 25: the metadata is not YAML: found unexpected end of stream"),
    ("language: ko", "language: ko\n2: x", "README.md: the key 2 is no text; put it in quotes"),
    ("language: ko", "language: ko\nday: 2024-13-45", "README.md: the metadata is not YAML: month must be in 1..12"),
    (
        "language: ko", "language: ko\nignore_metadata_errors: 1",
        "README.md: huggingface_hub does not read the metadata: "
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
    assert findings(CARD.replace(old, new)) == [finding]


def test_no_metadata():
    body = CARD.partition("\n---\n")[2]
    assert findings(body) == ["line 1: no metadata; the first line is ---, then comes YAML, then --- again"]
    assert findings("---\nlanguage: ko\n")[1] == "line 1: the metadata that opens here is never closed by ---"
    assert findings(f"---\n---\n{body}") == ["README.md: the metadata is empty; write lines such as language: ko"]
    assert findings(f"---\n- ko\n---\n{body}") == ["README.md: the metadata is no mapping; write lines such as language: ko"]
    assert findings(" \n") == ["README.md: the card is empty"]
    assert findings("\ufeff" + CARD) == ["line 1: a byte order mark hides the metadata; save it as UTF-8 without one"]


def test_license_other():
    card = CARD.replace("license: cc-by-nc-sa-4.0", "license: other").replace("base_model: skt/kogpt2-base-v2\n", "")
    card = card.replace("base_model_relation: finetune\n", "")
    assert findings(card) == [
        "line 3: license_name is missing; license other needs it",
        "line 3: license_link is missing; license other needs it",
    ]
    more = "license: other\nlicense_name: own\nlicense_link: LICENSE\n"
    assert findings(card.replace("license: other\n", more)) == []


def test_model_index_of_other_shapes():
    head = CARD.partition("model-index:")[0]
    body = "\n---\n" + CARD.partition("\n---\n")[2]

    def of(index: str) -> list[str]:
        return findings(f"{head}model-index: {index}{body}")

    no_list = "line 13: model-index is no list of models; write - name: and results: under it, or leave it out"
    no_results = "line 13: an entry of model-index has no results; leave model-index out where there are none"
    assert of("[]") == of("3") == of("{a: 1}") == of("") == [no_list]
    assert of("[x]") == ["line 13: an entry of model-index is no mapping with name and results"]
    assert of("[{name: x}]") == of("[{name: x, results: []}]") == [no_results]
    assert of("[{name: x, results: [3]}]") == [
        "line 13: a result of model-index is no mapping with task, dataset and metrics"
    ]
    assert of("[{name: x, results: [{task: 1, metrics: []}]}]") == [
        f"line 13: a result of model-index has no {what}"
        for what in ("task.type", "dataset.type", "dataset.name", "metrics")
    ]  # fmt: skip


def test_names():
    assert {"text-generation", "summarization", "question-answering", "text-classification"} <= PIPELINE_TAGS
    assert {"transformers", "peft"} <= LIBRARY_NAMES
    assert {"ko", "en", "multilingual", "code"} <= LANGUAGE_CODES
    assert len(LANGUAGE_CODES) == 184 + 3
