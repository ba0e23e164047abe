"""The licences of base models and data sets, found by their Hub ids."""

from __future__ import annotations

import pytest

from tasks.publishing.base_models import BASE_MODELS, DATASETS, base_license, dataset_license
from tasks.publishing.license_table import LICENSES

NC_SA = "cc-by-nc-sa-4.0"


def test_tables_name_known_licences():
    assert {base.license for base in BASE_MODELS.values()} <= set(LICENSES)
    assert set(DATASETS.values()) <= set(LICENSES)
    assert all(base.license_name for base in BASE_MODELS.values() if base.license == "other")


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
