"""Which licence a fine-tune may carry, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.arguments.publishing import PublishArguments
from tasks.errors import UserError
from tasks.publishing.license import (
    BASE_MODELS,
    DATASETS,
    LICENSES,
    base_license,
    credit,
    dataset_license,
    license_for,
    license_metadata,
)
from tasks.publishing.report import Base

KOGPT2 = "skt/kogpt2-base-v2"
NC_SA = "cc-by-nc-sa-4.0"


def resolve(base, given=None, dataset=None, **more):
    """The licence of a fine-tune of some/base under ``base``."""
    return license_for(Base("some/base", "some/base", license=base), dataset, PublishArguments(license=given, **more))


def from_scratch(given=None, dataset=None):
    return license_for(Base(from_scratch=True), dataset, PublishArguments(license=given))


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
        # a public domain base lets its adaptations be under anything
        ("cc0-1.0", "other", None, "other"),
        # the data asks for more, and the user has chosen what covers both
        ("apache-2.0", "cc-by-sa-4.0", "cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("mit", "cc-by-nc-4.0", "cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-sa-4.0", "cc-by-sa-4.0"),
        ("cc-by-sa-4.0", None, "cc-by-sa-3.0", "cc-by-sa-4.0"),
        ("cc-by-nc-4.0", NC_SA, "cc-by-sa-4.0", NC_SA),
        ("apache-2.0", "gpl-3.0", "cc-by-sa-4.0", "gpl-3.0"),
        ("apache-2.0", "llama3.1", "llama3.1", "llama3.1"),
        ("gpl-2.0", "gpl-3.0", "gpl-3.0", "gpl-3.0"),
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
        (NC_SA, "apache-2.0", None, "and apache-2.0 drops non-commercial, share-alike; leave --license out"),
        (NC_SA, "cc-by-sa-4.0", None, "drops non-commercial"),
        (NC_SA, "cc-by-nc-4.0", None, "drops share-alike"),
        ("mit", "unlicense", None, "some/base is under mit, and unlicense drops attribution"),
        ("gpl-3.0", "cc-by-sa-4.0", None, "drops the copyleft of gpl"),
        # not what a share-alike base allows
        (NC_SA, "cc-by-nc-sa-3.0", None, "which lets adaptations go on as cc-by-nc-sa-4.0 only"),
        ("cc-by-sa-4.0", NC_SA, None, "which lets adaptations go on as cc-by-sa-4.0 or gpl-3.0 only"),
        ("cc-by-sa-3.0", "gpl-3.0", None, "go on as cc-by-sa-3.0 or cc-by-sa-4.0 only"),
        ("gpl-3.0", "gpl-2.0", None, "go on as gpl-3.0 only"),
        ("gpl-3.0", "agpl-3.0", None, "drops the copyleft of gpl"),
        ("apache-2.0", "gpl-2.0", None, "which the Free Software Foundation holds incompatible with gpl-2.0"),
        # terms of their own
        (
            "llama3",
            "mit",
            None,
            "under llama3, and mit drops share-alike, the terms of llama3; leave --license out",
        ),
        ("llama3", "llama3.1", None, "neither base nor data is under it"),
        ("openrail", "bigscience-openrail-m", None, "drops the terms of openrail"),
        ("other", "apache-2.0", None, "drops share-alike, the terms of other"),
        ("apache-2.0", "gemma", None, "what one publisher grants for its own models"),
        ("apache-2.0", "other", None, "--license other: some/base is under apache-2.0, and other drops attribution"),
        # base and data
        (
            "apache-2.0",
            None,
            "cc-by-sa-4.0",
            "the data set is under cc-by-sa-4.0, and apache-2.0 drops share-alike; --license cc-by-sa-4.0 covers both",
        ),
        ("mit", None, "cc-by-nc-4.0", "and mit drops non-commercial; --license cc-by-nc-4.0 covers both"),
        ("apache-2.0", None, "llama3.1", "drops share-alike, the terms of llama3.1; --license llama3.1 covers both"),
        ("cc-by-sa-3.0", None, "cc-by-sa-4.0", "go on as cc-by-sa-4.0 or gpl-3.0 only; --license cc-by-sa-4.0 covers both"),
        ("gpl-2.0", None, "gpl-3.0", "--license gpl-3.0 covers both"),
        ("cc-by-nc-4.0", None, "cc-by-sa-4.0", "and cc-by-nc-4.0 drops share-alike; name a --license that covers both"),
        (
            "cc-by-sa-4.0",
            None,
            "cc-by-nc-4.0",
            "name a --license that covers both; if there is none, train on other data or start from another --model",
        ),
        (NC_SA, None, "gpl-3.0", "drops the copyleft of gpl; name a --license that covers both"),
        ("llama3", None, "gemma", "and llama3 drops the terms of gemma; name a --license that covers both"),
        ("apache-2.0", "mit", "cc-by-sa-4.0", "mit drops share-alike; --license cc-by-sa-4.0 covers both"),
        (None, "mit", "cc-by-nc-4.0", "mit drops non-commercial; --license cc-by-nc-4.0 covers it"),
        (None, "cc-by-sa-3.0", "cc-by-sa-4.0", "go on as cc-by-sa-4.0 or gpl-3.0 only; --license cc-by-sa-4.0 covers it"),
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
        from_scratch()
    with pytest.raises(UserError, match=r"\(its data set is under cc-by-sa-3\.0\); choose one with --license$"):
        from_scratch(None, "cc-by-sa-3.0")
    assert from_scratch("cc-by-sa-3.0", "cc-by-sa-3.0") == "cc-by-sa-3.0"
    assert from_scratch("mit") == "mit"
    assert from_scratch("other") == "other"
    with pytest.raises(UserError, match=r"drops share-alike; --license cc-by-sa-3\.0 covers it"):
        from_scratch("mit", "cc-by-sa-3.0")
    with pytest.raises(UserError, match="what one publisher grants"):
        from_scratch("llama3")


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
        ("mit", Base(license="apache-2.0"), {"license": "mit"}),
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
        ("other", Base(), {"license": "other"}),
        ("gpl-3.0", Base(license="apache-2.0", license_link="https://example.org"), {"license": "gpl-3.0"}),
    ],
)
def test_metadata_of_a_card(id, base, metadata):
    assert license_metadata(id, base) == metadata


@pytest.mark.parametrize("named", ["apache-2.0", "cc0-1.0", "other", "unknown", "cdla-permissive-2.0", "cc-by-4.0"])
@pytest.mark.parametrize("known", ["cc-by-sa-4.0", "cc-by-nd-4.0"])
def test_a_known_data_set_is_not_freed_by_a_laxer_flag(known, named):
    with pytest.raises(
        UserError, match=f"the data set is under {known}, and --dataset_license {named} asks for less; leave"
    ):
        resolve("apache-2.0", "cc-by-sa-4.0", known, dataset_license=named)


def test_a_flag_may_say_more_than_is_known_of_a_data_set():
    assert resolve(NC_SA, None, "cc-by-4.0", dataset_license="cc-by-nc-sa-4.0") == NC_SA
    assert resolve(NC_SA, None, "my-own-terms", dataset_license="cc-by-sa-4.0") == NC_SA


def test_credit():
    assert credit(KOGPT2, "en") == (
        "Based on [KoGPT2](https://github.com/SKT-AI/KoGPT2) by SK Telecom (SKT AI), licensed under "
        "[CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/)."
    )
    assert "[KoGPT2](https://github.com/SKT-AI/KoGPT2)를" in credit(KOGPT2, "ko")
    assert credit(KOGPT2, "fr") == credit(KOGPT2, "en")
    assert credit("meta-llama/Llama-3.2-1B", "en").startswith("Built with Llama. Llama 3.2 is licensed under")
    assert credit("gpt2", "en") is None
    assert credit("google/gemma-2b", "ko") == (
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms."
    )


ids = st.sampled_from(sorted(LICENSES))
maybe_ids = st.one_of(st.none(), ids)


@settings(max_examples=1500, deadline=None)
@given(base=ids, chosen=maybe_ids, dataset=maybe_ids)
def test_nothing_that_the_base_asks_for_is_lost(base, chosen, dataset):
    """Neither for the base, nor for data that sets a rule; and what a refusal proposes is accepted."""
    try:
        result = resolve(base, chosen, dataset)
    except UserError as error:
        proposed = re.search(r"; --license (\S+) covers", str(error))
        if proposed:
            resolve(base, proposed[1], dataset)
        return
    assert LICENSES[base].asks <= LICENSES[result].asks
    assert chosen in (None, result)
    if dataset and "other" not in (result, dataset) and not LICENSES[dataset].frees_results:
        assert LICENSES[dataset].asks <= LICENSES[result].asks


@settings(max_examples=500, deadline=None)
@given(base=ids, dataset=maybe_ids)
def test_what_goes_on_by_itself_may_also_be_given(base, dataset):
    try:
        result = resolve(base, None, dataset)
    except UserError:
        return
    assert resolve(base, result, dataset) == result


#: What the card check of the Hub answered to an unknown licence (2026), less "array".
HUB_IDS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
    artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
    cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
    epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0
    postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2
    llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other
"""


def test_licenses_of_the_hub():
    assert set(LICENSES) == set(HUB_IDS.split())
    words = {"attribution", "non-commercial", "share-alike", "no-derivatives"}
    for license in LICENSES.values():
        assert license.link is None or license.link.startswith("https://")
        more = license.asks - words
        assert all(term.startswith("the copyleft of ") or term == f"the terms of {license.id}" for term in more)
        # share-alike says that the licence binds what comes after it: so do copyleft and terms of its own
        assert "share-alike" in license.asks or not more
        for other in (*license.goes_on_as, *license.never_as):
            assert other in LICENSES
        assert not license.goes_on_as or "share-alike" in license.asks


def test_tables_name_known_licences():
    assert {row["license"] for row in BASE_MODELS.values()} <= set(LICENSES)
    assert set(DATASETS.values()) <= set(LICENSES)
    assert all(row["license_name"] for row in BASE_MODELS.values() if row["license"] == "other")


@pytest.mark.parametrize(
    ("model", "license", "name"),
    [
        ("skt/kogpt2-base-v2", NC_SA, None),
        ("SKT/KoGPT2-Base-V2", NC_SA, None),
        ("skt/ko-gpt-trinity-1.2B-v0.5", NC_SA, None),
        ("kakaobrain/kogpt", "cc-by-nc-nd-4.0", None),
        ("EleutherAI/polyglot-ko-12.8b", "apache-2.0", None),
        ("gpt2", "mit", None),
        ("openai-community/gpt2-xl", "mit", None),
        ("Qwen/Qwen2.5-0.5B", "apache-2.0", None),
        ("Qwen/Qwen2.5-32B-Instruct", "apache-2.0", None),
        ("Qwen/Qwen2.5-3B-Instruct", "other", "qwen-research"),
        ("Qwen/Qwen2.5-Coder-3B", "other", "qwen-research"),
        ("Qwen/Qwen2.5-72B", "other", "qwen"),
        ("Qwen/Qwen2-7B", "apache-2.0", None),
        ("Qwen/Qwen2-72B", "other", "tongyi-qianwen"),
        ("Qwen/Qwen3-0.6B-Base", "apache-2.0", None),
        ("meta-llama/Llama-2-7b-hf", "llama2", None),
        ("meta-llama/Meta-Llama-3-8B", "llama3", None),
        ("meta-llama/Meta-Llama-3.1-8B", "llama3.1", None),
        ("meta-llama/Llama-3.2-1B", "llama3.2", None),
        ("google/gemma-2b", "gemma", None),
        ("google/gemma-3-270m", "gemma", None),
        ("google/gemma-4-31B", "apache-2.0", None),
        ("LGAI-EXAONE/EXAONE-4.0-1.2B", "other", "exaone"),
        ("ai-forever/mGPT", "apache-2.0", None),
        ("ai-forever/mGPT-13B", "mit", None),
    ],
)
def test_base_models(model, license, name):
    base = base_license(model)
    assert (base.license, base.license_name) == (license, name)


@pytest.mark.parametrize("model", [None, "", "me/kogpt2-summarize", "outputs/gpt2", "Qwen/Qwen2.5-VL-3B-Instruct", "./gpt2"])
def test_models_that_are_not_known(model):
    assert base_license(model) is None


def test_data_sets():
    assert dataset_license("klue/KLUE") == "cc-by-sa-4.0"
    assert dataset_license("daekeun-ml/naver-news-summarization-ko") == "apache-2.0"
    assert dataset_license("wikimedia/wikipedia") == "cc-by-sa-3.0"
    assert dataset_license("me/data") is None and dataset_license(None) is None
