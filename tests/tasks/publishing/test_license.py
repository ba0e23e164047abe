"""Which licence a fine-tune may carry, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UserError
from tasks.publishing.base_models import BASE_MODELS, BaseModel, base_license, dataset_license
from tasks.publishing.license import credit, license_metadata, resolve_license
from tasks.publishing.license_table import FREE_RESULTS, LICENSES

KOGPT2 = "skt/kogpt2-base-v2"
NC_SA = "cc-by-nc-sa-4.0"


def resolve(base, given=None, dataset=None, **more):
    return resolve_license(base, given, dataset, base_model=more.pop("base_model", "some/base"), **more)


@pytest.mark.parametrize(
    ("base", "chosen", "dataset", "result"),
    [
        # the home cases
        (NC_SA, None, None, NC_SA),
        (NC_SA, None, "cc-by-sa-4.0", NC_SA),
        (NC_SA, None, "apache-2.0", NC_SA),
        (NC_SA, None, "cc0-1.0", NC_SA),
        (NC_SA, NC_SA, "cc-by-sa-4.0", NC_SA),
        # the base's goes on
        ("apache-2.0", None, None, "apache-2.0"),
        ("Apache-2.0", None, None, "apache-2.0"),
        ("llama3.1", None, "cc-by-sa-4.0", "llama3.1"),
        ("other", None, None, "other"),
        ("other", None, "cc-by-nc-4.0", "other"),
        ("other", "other", None, "other"),
        # asking for more, where the base is permissive
        ("mit", "apache-2.0", None, "apache-2.0"),
        ("apache-2.0", "gpl-3.0", None, "gpl-3.0"),
        ("apache-2.0", "openrail", None, "openrail"),
        ("cc-by-4.0", NC_SA, None, NC_SA),
        ("cc-by-nc-4.0", NC_SA, None, NC_SA),
        ("cc-by-nc-4.0", "cc-by-nc-nd-4.0", None, "cc-by-nc-nd-4.0"),
        ("cc0-1.0", "unlicense", None, "unlicense"),
        ("pddl", "mit", None, "mit"),
        # asking for something else, where a share-alike base names it
        ("cc-by-sa-3.0", "cc-by-sa-4.0", None, "cc-by-sa-4.0"),
        ("cc-by-sa-4.0", "gpl-3.0", None, "gpl-3.0"),
        ("cc-by-nc-sa-3.0", NC_SA, None, NC_SA),
        ("gpl-2.0", "gpl-3.0", None, "gpl-3.0"),
        ("gpl", "gpl-2.0", None, "gpl-2.0"),
        ("lgpl-3.0", "gpl-3.0", None, "gpl-3.0"),
        # the data asks for more
        ("apache-2.0", None, "cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("mit", None, "cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("cc-by-sa-3.0", None, "cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("cc-by-sa-4.0", None, "cc-by-sa-3.0", "cc-by-sa-4.0"),
        ("cc-by-nc-4.0", NC_SA, "cc-by-sa-4.0", NC_SA),
        ("apache-2.0", "gpl-3.0", "cc-by-sa-4.0", "gpl-3.0"),
        ("apache-2.0", None, "llama3.1", "llama3.1"),
        ("apache-2.0", "llama3.1", "llama3.1", "llama3.1"),
        ("gpl-2.0", None, "gpl-3.0", "gpl-3.0"),
        # the data sets no rule
        ("apache-2.0", None, "other", "apache-2.0"),
        ("apache-2.0", None, "unknown", "apache-2.0"),
        ("apache-2.0", None, "c-uda", "apache-2.0"),
        ("apache-2.0", None, "cdla-sharing-1.0", "apache-2.0"),
        # the base is not known: the user's word
        (None, "mit", None, "mit"),
        (None, "other", "cc-by-nc-4.0", "other"),
        (None, "llama3", None, "llama3"),
        ("unknown", "mit", None, "mit"),
        ("cc", "cc-by-4.0", None, "cc-by-4.0"),
        ("my-own-terms", "mit", None, "mit"),
    ],
)
def test_result(base, chosen, dataset, result):
    assert resolve(base, chosen, dataset) == result


@pytest.mark.parametrize(
    ("base", "chosen", "dataset", "message"),
    [
        # nothing to go by
        (None, None, None, "the licence of some/base is not known; look it up and name it with --license"),
        ("unknown", None, None, "is not known (its page says unknown); look it up and name it with --license"),
        ("cc", None, None, "(its page says cc)"),
        (
            "apache2",
            None,
            None,
            "the licence of some/base, apache2, is not a licence id of the Hub; did you mean apache-2.0?",
        ),
        # no derivatives
        ("cc-by-nc-nd-4.0", None, None, "some/base is under cc-by-nc-nd-4.0, which forbids sharing adaptations"),
        ("cc-by-nc-nd-4.0", "cc-by-nc-nd-4.0", None, "start from another --model"),
        ("cc-by-nc-nd-4.0", "mit", None, "forbids sharing adaptations"),
        ("cc-by-nd-3.0", "mit", None, "forbids sharing adaptations"),
        (NC_SA, None, "cc-by-nd-4.0", "is disputed; to publish on your own judgement, add --allow_nd_dataset"),
        (NC_SA, NC_SA, "cc-by-nd-4.0", "the data set is under cc-by-nd-4.0"),
        # ids
        (NC_SA, "cc-by-nc-sa", None, "--license cc-by-nc-sa is not a licence id of the Hub; did you mean cc-by-nc-sa-4.0?"),
        (NC_SA, "gpl-v3", None, "did you mean gpl-3.0?"),
        (None, "unlicensed", None, "is not a licence id of the Hub; they are listed at https://huggingface.co/docs"),
        (NC_SA, "no way", None, "they are listed at"),
        (None, "unknown", None, "--license unknown does not say what is allowed"),
        (NC_SA, "cc", None, "--license cc does not say what is allowed"),
        ("mit", None, "cc-by-sa", "name it with --dataset_license"),
        # less than the base
        (NC_SA, "apache-2.0", None, "and this drops non-commercial, share-alike; leave --license out"),
        (NC_SA, "cc-by-sa-4.0", None, "drops non-commercial"),
        (NC_SA, "cc-by-nc-4.0", None, "drops share-alike"),
        ("mit", "unlicense", None, "some/base is under mit, and this drops attribution"),
        ("gpl-3.0", "cc-by-sa-4.0", None, "drops the copyleft of gpl"),
        # not what a share-alike base allows
        (NC_SA, "cc-by-nc-sa-3.0", None, "which lets adaptations go on as cc-by-nc-sa-4.0 only"),
        ("cc-by-sa-4.0", NC_SA, None, "which lets adaptations go on as cc-by-sa-4.0 or gpl-3.0 only"),
        ("cc-by-sa-3.0", "gpl-3.0", None, "go on as cc-by-sa-3.0 or cc-by-sa-4.0 only"),
        ("gpl-3.0", "gpl-2.0", None, "go on as gpl-3.0 only"),
        ("gpl-3.0", "agpl-3.0", None, "drops the copyleft of gpl"),
        ("apache-2.0", "gpl-2.0", None, "Free Software Foundation holds incompatible"),
        # terms of their own
        ("llama3", "mit", None, "some/base is under llama3, whose own terms go on as they are; leave --license out"),
        ("llama3", "llama3.1", None, "neither base nor data is under it"),
        ("openrail", "bigscience-openrail-m", None, "whose own terms go on as they are"),
        ("other", "apache-2.0", None, "whose own terms go on as they are"),
        ("apache-2.0", "gemma", None, "what one publisher grants for its own models"),
        ("apache-2.0", "other", None, "--license other: some/base is under apache-2.0"),
        # base and data
        ("cc-by-nc-4.0", None, "cc-by-sa-4.0", "also asks for share-alike); --license cc-by-nc-sa-4.0 covers both"),
        ("cc-by-sa-4.0", None, "cc-by-nc-4.0", "also asks for non-commercial); no licence of the Hub covers both"),
        (
            "cc-by-sa-4.0",
            None,
            NC_SA,
            "no licence of the Hub covers both; train on other data, or start from another --model",
        ),
        (NC_SA, None, "gpl-3.0", "no licence of the Hub covers both"),
        ("llama3", None, "cc-by-nc-4.0", "no licence of the Hub covers both"),
        ("llama3", None, "gemma", "also asks for the terms of gemma); no licence of the Hub covers both"),
        ("apache-2.0", None, "gpl-2.0", "--license gpl-3.0 covers both"),
        ("apache-2.0", "mit", "cc-by-sa-4.0", "this drops share-alike; --license cc-by-sa-4.0 covers both"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "drops share-alike; --license cc-by-nc-sa-4.0 covers both"),
        (None, "mit", "cc-by-nc-4.0", "drops non-commercial; --license cc-by-nc-4.0 covers it"),
        (None, "cc-by-sa-3.0", "cc-by-sa-4.0", "this is not a version that it goes on as"),
    ],
)
def test_refusal(base, chosen, dataset, message):
    with pytest.raises(UserError) as error:
        resolve(base, chosen, dataset)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "--" in str(error.value)


def test_from_scratch():
    with pytest.raises(UserError, match=r"from scratch inherits no licence; choose one with --license$"):
        resolve_license(None, None, None)
    with pytest.raises(UserError, match=r"\(its data set is under cc-by-sa-3\.0\); choose one with --license$"):
        resolve_license(None, None, "cc-by-sa-3.0")
    assert resolve_license(None, "cc-by-sa-3.0", "cc-by-sa-3.0") == "cc-by-sa-3.0"
    assert resolve_license(None, "mit", None) == "mit"
    assert resolve_license(None, "other", None) == "other"
    with pytest.raises(UserError, match=r"drops share-alike; --license cc-by-sa-3\.0 covers it"):
        resolve_license(None, "mit", "cc-by-sa-3.0")
    with pytest.raises(UserError, match="what one publisher grants"):
        resolve_license(None, "llama3", None)


def test_data_without_derivatives_on_the_users_judgement():
    korquad = dataset_license("KorQuAD/squad_kor_v1")
    assert korquad == "cc-by-nd-4.0"
    assert resolve(NC_SA, None, korquad, allow_nd_dataset=True) == NC_SA
    assert resolve("apache-2.0", None, "cc-by-nc-nd-4.0", allow_nd_dataset=True) == "apache-2.0"
    with pytest.raises(UserError, match="no fine-tune of it can be published"):
        resolve("cc-by-nc-nd-4.0", None, korquad, allow_nd_dataset=True)


@pytest.mark.parametrize(
    ("id", "base", "metadata"),
    [
        (NC_SA, base_license(KOGPT2), {"license": NC_SA}),
        ("mit", None, {"license": "mit"}),
        (
            "gemma",
            base_license("google/gemma-2b"),
            {"license": "gemma", "license_link": "https://ai.google.dev/gemma/terms"},
        ),
        (
            "other",
            base_license("Qwen/Qwen2.5-3B"),
            {
                "license": "other",
                "license_name": "qwen-research",
                "license_link": "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE",
            },
        ),
        ("other", None, {"license": "other"}),
        ("gpl-3.0", BaseModel("apache-2.0", license_link="https://example.org"), {"license": "gpl-3.0"}),
    ],
)
def test_metadata_of_a_card(id, base, metadata):
    assert license_metadata(id, base) == metadata


def test_credit():
    english = credit(KOGPT2, "en", "fine-tuned on {news}.")
    assert english == (
        "Based on [KoGPT2](https://github.com/SKT-AI/KoGPT2) by SK Telecom (SKT AI), licensed under "
        "[CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/). Changes: fine-tuned on {news}."
    )
    korean = credit(KOGPT2, "ko", "뉴스 요약으로 미세 조정")
    assert "[KoGPT2](https://github.com/SKT-AI/KoGPT2)를" in korean
    assert korean.endswith("변경한 내용: 뉴스 요약으로 미세 조정.")
    assert credit(KOGPT2, "fr", "x") == credit(KOGPT2, "en", "x")
    assert credit("meta-llama/Llama-3.2-1B", "en", "x").startswith("Built with Llama. Llama 3.2 is licensed under")
    assert credit("gpt2", "en", "x") is None
    for base in BASE_MODELS.values():
        assert base.credit is None or all(base.credit[language].count("{change}") == 1 for language in ("en", "ko"))


ids = st.sampled_from(sorted(LICENSES))
maybe_ids = st.one_of(st.none(), ids)


@settings(max_examples=1500, deadline=None)
@given(base=ids, chosen=maybe_ids, dataset=maybe_ids)
def test_nothing_that_the_base_asks_for_is_lost(base, chosen, dataset):
    """Neither for the base, nor for data that sets a rule; and what a refusal proposes is accepted."""
    try:
        result = resolve(base, chosen, dataset)
    except UserError as error:
        proposed = re.search(r"--license (\S+) covers", str(error))
        if proposed:
            resolve(base, proposed[1], dataset)
        return
    assert LICENSES[base].restrictions <= LICENSES[result].restrictions
    assert chosen in (None, result)
    if dataset and result != "other" and dataset != "other" and dataset not in FREE_RESULTS:
        assert LICENSES[dataset].restrictions <= LICENSES[result].restrictions


@settings(max_examples=500, deadline=None)
@given(base=ids, dataset=maybe_ids)
def test_what_goes_on_by_itself_may_also_be_given(base, dataset):
    try:
        result = resolve(base, None, dataset)
    except UserError:
        return
    assert resolve(base, result, dataset) == result
