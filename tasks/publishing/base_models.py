"""The licences of base models and public data sets that Korean work builds on, and the credit that a base asks for.

Keys are Hub ids or patterns of them, compared without regard to case; an exact key wins, then the first pattern that fits.
What is not here is looked up on the Hub by whoever publishes, or named with ``--license``.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class BaseModel:
    """The licence of a base model; name and link where the id alone does not say it.

    ``credit`` maps a language to the sentences that the licence asks for, with ``{change}`` for what was changed.
    ``{id}`` in the ``license_link`` of a pattern stands for the id of the model.
    """

    license: str
    license_name: str | None = None
    license_link: str | None = None
    credit: dict[str, str] | None = None


_OWN_LICENSE = "https://huggingface.co/{id}/blob/main/LICENSE"
_BY_NC_SA = "[CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/)"


def _sk_telecom(name: str, link: str) -> BaseModel:
    return BaseModel(
        "cc-by-nc-sa-4.0",
        credit={
            "en": f"Based on [{name}]({link}) by SK Telecom (SKT AI), licensed under {_BY_NC_SA}. Changes: {{change}}.",
            "ko": f"SK텔레콤(SKT AI)이 {_BY_NC_SA}으로 공개한 [{name}]({link})를 바탕으로 만들었습니다. "
            "변경한 내용: {change}.",
        },
    )


def _with_notice(license: str, notice: str) -> BaseModel:
    """A licence that prescribes the words of its notice. They stay in English."""
    return BaseModel(license, credit={"en": notice + " Changes: {change}.", "ko": notice + " 변경한 내용: {change}."})


def _llama(license: str, name: str, agreement: str, built_with: str = "Built with Llama. ") -> BaseModel:
    text = f"{built_with}{name} is licensed under the {agreement}, Copyright © Meta Platforms, Inc. All Rights Reserved."
    return _with_notice(license, text)


_APACHE = BaseModel("apache-2.0")
_MIT = BaseModel("mit")
_KOGPT2 = _sk_telecom("KoGPT2", "https://github.com/SKT-AI/KoGPT2")
_TRINITY = _sk_telecom("Ko-GPT-Trinity 1.2B", "https://huggingface.co/skt/ko-gpt-trinity-1.2B-v0.5")
_LLAMA2 = _llama("llama2", "Llama 2", "LLAMA 2 Community License", "")
_LLAMA3 = _llama("llama3", "Meta Llama 3", "Meta Llama 3 Community License", "Built with Meta Llama 3. ")
_LLAMA31 = _llama("llama3.1", "Llama 3.1", "Llama 3.1 Community License")
_GEMMA = _with_notice(
    "gemma", "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms."
)
_QWEN = BaseModel("other", "qwen", _OWN_LICENSE)
_QWEN_RESEARCH = BaseModel("other", "qwen-research", _OWN_LICENSE)
_EXAONE = BaseModel("other", "exaone", _OWN_LICENSE)

BASE_MODELS: dict[str, BaseModel] = {
    "skt/kogpt2-base-v2": _KOGPT2,
    "skt/ko-gpt-trinity-1.2B-v0.5": _TRINITY,
    "skt/A.X-3.1-Light": _APACHE,
    "skt/A.X-4.0-Light": _APACHE,
    "kakaobrain/kogpt": BaseModel("cc-by-nc-nd-4.0"),
    "kakaocorp/kanana-nano-2.1b-*": BaseModel("cc-by-nc-4.0"),
    "kakaocorp/kanana-1.5-2.1b-*": _APACHE,
    "kakaocorp/kanana-1.5-8b-*": _APACHE,
    "K-intelligence/Midm-2.0-*": _MIT,
    "42dot/42dot_LLM-*-1.3B": BaseModel("cc-by-nc-4.0"),
    "upstage/SOLAR-10.7B-v1.0": _APACHE,
    "upstage/SOLAR-10.7B-Instruct-v1.0": BaseModel("cc-by-nc-4.0"),
    "LGAI-EXAONE/EXAONE-3.0-*": _EXAONE,
    "LGAI-EXAONE/EXAONE-3.5-*": _EXAONE,
    "LGAI-EXAONE/EXAONE-Deep-*": _EXAONE,
    "LGAI-EXAONE/EXAONE-4.0-*": _EXAONE,
    "naver-hyperclovax/HyperCLOVAX-SEED-Text-Instruct-*": BaseModel("other", "hyperclovax-seed", _OWN_LICENSE),
    "naver-hyperclovax/HyperCLOVAX-SEED-Think-32B": BaseModel("other", "hyperclovax", _OWN_LICENSE),
    "beomi/open-llama-2-ko-7b": _MIT,
    "beomi/Llama-3-Open-Ko-8B*": _LLAMA3,
    "beomi/KoAlpaca-Polyglot-*": _APACHE,
    "EleutherAI/polyglot-ko-*": _APACHE,
    "EleutherAI/pythia-*": _APACHE,
    "EleutherAI/gpt-neo-*": _MIT,
    "EleutherAI/gpt-neox-20b": _APACHE,
    "EleutherAI/gpt-j-6b": _APACHE,
    "gpt2": _MIT,
    "gpt2-medium": _MIT,
    "gpt2-large": _MIT,
    "gpt2-xl": _MIT,
    "openai-community/gpt2*": _MIT,
    "Qwen/Qwen2-72B*": BaseModel("other", "tongyi-qianwen", _OWN_LICENSE),
    "Qwen/Qwen2-[017]*": _APACHE,
    "Qwen/Qwen2.5-3B*": _QWEN_RESEARCH,
    "Qwen/Qwen2.5-Coder-3B*": _QWEN_RESEARCH,
    "Qwen/Qwen2.5-72B*": _QWEN,
    "Qwen/Qwen2.5-Math-72B*": _QWEN,
    "Qwen/Qwen2.5-[0-9]*": _APACHE,
    "Qwen/Qwen2.5-Coder-[0-9]*": _APACHE,
    "Qwen/Qwen2.5-Math-[0-9]*": _APACHE,
    "Qwen/Qwen3-*": _APACHE,
    "meta-llama/Llama-2-*": _LLAMA2,
    "meta-llama/Meta-Llama-3-*": _LLAMA3,
    "meta-llama/Meta-Llama-3.1-*": _LLAMA31,
    "meta-llama/Llama-3.1-*": _LLAMA31,
    "meta-llama/Llama-3.2-*": _llama("llama3.2", "Llama 3.2", "Llama 3.2 Community License"),
    "meta-llama/Llama-3.3-*": _llama("llama3.3", "Llama 3.3", "Llama 3.3 Community License"),
    "meta-llama/Llama-4-*": _llama("llama4", "Llama 4", "Llama 4 Community License"),
    "google/gemma-4-*": _APACHE,
    "google/gemma-[1237]*": _GEMMA,
    "google/codegemma-*": _GEMMA,
    "microsoft/phi-[1-4]*": _MIT,
    "mistralai/Mistral-7B-*": _APACHE,
    "mistralai/Mixtral-8x*": _APACHE,
    "mistralai/Mistral-Nemo-*": _APACHE,
    "mistralai/Mistral-Small-24B-*": _APACHE,
    "facebook/xglm-*": _MIT,
    "ai-forever/mGPT": _APACHE,
    "ai-forever/mGPT-13B": _MIT,
    "bigscience/bloom*": BaseModel("bigscience-bloom-rail-1.0"),
    "HuggingFaceTB/SmolLM*": _APACHE,
    "TinyLlama/TinyLlama*": _APACHE,
}

#: What tells a copy of a model in a folder of any name (``copied_model``): values of its config.json, and the hash of its
#: vocabulary.
FINGERPRINTS: dict[str, tuple[dict[str, Any], str]] = {
    "skt/kogpt2-base-v2": (
        {"created_date": "2021-04-28", "license": "CC-BY-NC-SA 4.0"},
        "a5c55f4857fec39eb659cb89754aef8332b9ea4b3b717f40657247d1ded2a77d",
    ),
}

#: Data sets, by the licence on their page. wikimedia/wikipedia names GFDL as well; Wikipedia lets the user choose.
DATASETS: dict[str, str] = {
    "klue": "cc-by-sa-4.0",
    "klue/klue": "cc-by-sa-4.0",
    "squad_kor_v1": "cc-by-nd-4.0",
    "squad_kor_v2": "cc-by-nd-4.0",
    "KorQuAD/squad_kor_v1": "cc-by-nd-4.0",
    "KorQuAD/squad_kor_v2": "cc-by-nd-4.0",
    "kor_nli": "cc-by-sa-4.0",
    "kakaobrain/kor_nli": "cc-by-sa-4.0",
    "skt/kobest_v1": "cc-by-sa-4.0",
    "daekeun-ml/naver-news-summarization-ko": "apache-2.0",
    "nlpai-lab/kullm-v2": "apache-2.0",
    "wikimedia/wikipedia": "cc-by-sa-3.0",
}


def base_license(base_model: str | None) -> BaseModel | None:
    """The licence of a base model by its Hub id, None where it is not known here (or is a folder, or there is no base)."""
    found = _look_up(BASE_MODELS, base_model)
    if found is None or found.license_link is None:
        return found
    return replace(found, license_link=found.license_link.replace("{id}", str(base_model).strip()))


def copied_model(config: Mapping[str, Any], vocabulary: Iterable[str]) -> str | None:
    """The Hub id of the known model whose config.json or vocabulary this is; None where it is none of them.

    Of the vocabulary the tokens in ``<>`` do not count: a run of this project gives the free ones among them new names.
    A config that has the values of another model speaks against it, whatever the vocabulary is.
    """
    words = sorted(token for token in vocabulary if not (token.startswith("<") and token.endswith(">")))
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
    for hub_id, (values, known) in FINGERPRINTS.items():
        found = {key: config[key] for key in values if key in config}
        if found == values or (not found and digest == known):
            return hub_id
    return None


def dataset_license(dataset: str | None) -> str | None:
    """The licence id of a data set by its Hub id, None where it is not known here."""
    return _look_up(DATASETS, dataset)


def _look_up(table: dict, name: str | None):
    wanted = (name or "").strip().lower()
    exact = {key.lower(): value for key, value in table.items()}
    if wanted in exact:
        return exact[wanted]
    return next((value for key, value in exact.items() if fnmatch.fnmatchcase(wanted, key)), None)
