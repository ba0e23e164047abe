"""Load a tokenizer, check that it preserves Korean, and give every separator a token of its own."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast
from transformers.utils import cached_file

from tasks.arguments.model import ModelArguments
from tasks.base import Separator, Task
from tasks.errors import UserError
from tasks.model.model_files import find_file, hub_options
from tasks.network import hub_failure

#: Frequent and rare syllables, Latin, digits and punctuation, which a tokenizer for Korean has to preserve.
PROBE = "안녕하세요. 한국어 GPT-2 입니다. 값싼 옷을 2벌 샀다!"

#: Unused tokens that vocabularies reserve for their users: KoGPT2, BERT-like, Llama 3.
FREE_SLOT = re.compile(r"<unused(\d+)>|\[unused(\d+)\]|<\|reserved_special_token_(\d+)\|>")

#: Common names of special tokens, for models without tokenizer_config.json.
COMMON_NAMES = {
    "eos_token": ("</s>", "<|endoftext|>", "<eos>", "[EOS]"),
    "bos_token": ("<s>", "<|endoftext|>", "<bos>", "[BOS]"),
    "unk_token": ("<unk>", "[UNK]"),
    "pad_token": ("<pad>", "[PAD]", "<|pad|>"),
    "mask_token": ("<mask>", "[MASK]"),
}


def load_tokenizer(model_args: ModelArguments, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder or a Hub model, checked to preserve Korean, with eos, bos and pad set.

    For a GPT-2 without tokenizer_config.json, such as ``skt/kogpt2-base-v2``, ``AutoTokenizer`` adds a byte-level
    pre-tokenizer to a vocabulary without bytes, and every Hangul syllable is lost without a warning (transformers#45812,
    #45920); tokenizer.json is then loaded as it is. ``model_max_length`` is set to the model's positions.
    Raises UserError if there is no tokenizer, it cannot be read, or it loses Korean.
    """
    name, revision, common = model_args.model, model_args.model_revision, hub_options(model_args)
    tokenizer, reason = None, "it has no tokenizer files"
    if find_file(name, "tokenizer_config.json", revision):
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **common)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).splitlines()[0]
        except Exception as error:
            reason = f"its tokenizer.json cannot be read ({error})"
    if (tokenizer is None or not carries_korean(tokenizer)) and (path := find_file(name, "tokenizer.json", revision)):
        try:
            bare = PreTrainedTokenizerFast.from_pretrained(name, **common, **_named_special_tokens(path, config))
            tokenizer = bare if tokenizer is None or carries_korean(bare) else tokenizer
        except Exception as error:
            reason = f"its tokenizer.json cannot be read ({error})"
    if tokenizer is None:
        raise _no_tokenizer(model_args, reason)
    if not carries_korean(tokenizer):
        back = tokenizer.decode(tokenizer(PROBE, add_special_tokens=False).input_ids, skip_special_tokens=True)
        raise UserError(
            f"{name}: this tokenizer loses Korean: {PROBE[:14]!r} comes back as {back[:20]!r}; take a model that was made "
            "for Korean, or train one with scripts/run_scratch.py"
        )
    if tokenizer.eos_token is None:
        raise UserError(f"{name}: the tokenizer has no eos token, so a model could never stop; set eos_token in its config")
    tokenizer = _keep_emoticons(tokenizer)
    # eos separates texts in GPT-2, too. As labels are built while encoding, no collator mistakes an eos for padding.
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.eos_token
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.model_max_length = max_positions(config)
    return tokenizer


def _no_tokenizer(model_args: ModelArguments, reason: str) -> UserError:
    """The error of a missing tokenizer. ``find_file`` returns None for a Hub that failed, too, so the Hub is asked again."""
    name = model_args.model
    if not Path(name).is_dir():
        try:
            cached_file(name, "tokenizer.json", **hub_options(model_args))
        except Exception as error:
            if failure := hub_failure(name, error):
                return failure
    return UserError(
        f"{name}: no tokenizer could be loaded: {reason}; copy tokenizer.json of its base model into the folder, "
        "or make a tokenizer with scripts/run_scratch.py"
    )


def max_positions(config: PretrainedConfig) -> int:
    """The longest sequence in tokens that the model can read; 1,024 if its config does not say."""
    for attribute in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, attribute, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1024


def carries_korean(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether a Korean sentence is decoded from its ids with every character except white space."""
    ids = tokenizer(PROBE, add_special_tokens=False).input_ids
    back = tokenizer.decode(ids, skip_special_tokens=True)
    return "".join(unicodedata.normalize("NFKC", back).split()) == "".join(PROBE.split())


def _named_special_tokens(tokenizer_json: Path, config: PretrainedConfig) -> dict[str, str]:
    """The special tokens of a tokenizer.json without tokenizer_config.json, by their common names."""
    state = json.loads(tokenizer_json.read_text("utf-8"))
    vocabulary = {token["content"] for token in state["added_tokens"]}
    named = {role: next((name for name in names if name in vocabulary), None) for role, names in COMMON_NAMES.items()}
    if config.model_type == "gpt2" and named["eos_token"]:
        # KoGPT2 was trained with </s> at both ends, as GPT-2 was with <|endoftext|>; its <s> is untrained.
        named["bos_token"] = named["eos_token"]
    return {role: name for role, name in named.items() if name}


def _keep_emoticons(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Unmark ordinary text that a tokenizer lists as special, which decoding would delete and encoding would spell out.

    KoGPT2 lists 266 emoji and emoticons (ㅠㅠ, ^^, 😂) as special.
    """
    named = set(tokenizer.all_special_tokens)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    special = [token for token in state["added_tokens"] if token["special"] and token["content"] not in named]
    ordinary = [token for token in special if not re.search(r"^\W?[<\[].*\w.*[>\]]$", token["content"])]
    for token in ordinary:
        token["special"] = False
    return _rebuild(tokenizer, state) if ordinary else tokenizer


def _rebuild(tokenizer: PreTrainedTokenizerFast, state: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer from an edited tokenizer.json, with the special tokens and settings of ``tokenizer``."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=tokenizer.model_max_length,
        **({"chat_template": tokenizer.chat_template} if tokenizer.chat_template else {}),
        **{role: str(token) for role, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
    )


def add_separators(
    tokenizer: PreTrainedTokenizerFast, separators: Sequence[Separator]
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """Give each separator one token; returns the tokenizer and the ids that were appended to its vocabulary.

    Reserved tokens (``<unused0>``) are renamed first, so that the vocabulary keeps its size; further separators are
    appended. A tokenizer that has all separators is returned unchanged.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    listed = {token["content"] for token in state["added_tokens"] if token["special"]}
    unlisted = [str(separator) for separator in separators if separator not in listed]
    missing = [separator for separator in unlisted if separator not in vocabulary]
    if not unlisted:
        return tokenizer, []
    free = sorted(
        (match for token in vocabulary if (match := FREE_SLOT.fullmatch(token))), key=lambda m: (int(m[m.lastindex]), m[0])
    )
    slots = {slot[0]: separator for slot, separator in zip(free, missing)}
    if slots:
        _rename(state, slots, vocabulary)
        tokenizer = _rebuild(tokenizer, state)
    added = missing[len(slots) :]
    words = [separator for separator in unlisted if separator in vocabulary]  # become special, with the same id
    if words or added:
        tokenizer.add_special_tokens({"extra_special_tokens": words + added}, replace_extra_special_tokens=False)
    return tokenizer, tokenizer.convert_tokens_to_ids(added)


def add_prompt(tokenizer: PreTrainedTokenizerFast, task: Task) -> PreTrainedTokenizerFast:
    """A tokenizer that makes a prompt of ``task`` of a text, or of a pair, where it is called as it is.

    So programs that know a classifier, such as ``pipeline``, send it what it was trained with.
    """
    parts = task.prompt({column.name: column.name for column in task.input_columns})
    texts = iter(("$A", "$B"))
    prompt = [part if isinstance(part, Separator) else next(texts) for part in parts]
    start = [tokenizer.bos_token] if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else []
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    made = _rebuild(tokenizer, state)  # without add_bos_token, by which transformers would make it again
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*start, "$A"] if "$B" in prompt else [*start, *prompt],
        pair=[*start, *prompt] if "$B" in prompt else None,
        special_tokens=[(str(t), tokenizer.convert_tokens_to_ids(str(t))) for t in (*start, *prompt) if t[0] != "$"],
    )
    return made


def _rename(state: dict[str, Any], slots: dict[str, str], ids: dict[str, int]) -> None:
    """Rename tokens of a tokenizer.json in place; ids stay, and so do merges, which never produce a special token."""
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        state["model"]["vocab"] = {slots.get(token, token): index for token, index in vocabulary.items()}
    else:  # Unigram: a list of [token, score]
        state["model"]["vocab"] = [[slots.get(token, token), score] for token, score in vocabulary]
    listed = {token["content"]: token for token in state["added_tokens"]}
    for slot, separator in slots.items():
        if slot not in listed:  # its text would be tokenised like any other
            listed[slot] = {"id": ids[slot], "single_word": False, "lstrip": False, "rstrip": False}
        listed[slot].update(content=separator, special=True, normalized=False)
    state["added_tokens"] = sorted(listed.values(), key=lambda token: token["id"])
