"""Load any tokenizer so that Korean survives, and give every separator one token of its own."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Separator
from tasks.errors import UserError
from tasks.network import hub_failure
from tasks.training.modeling import hub_options

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

    from tasks.training.arguments import ModelArguments

#: Frequent and rare syllables, Latin, digits, punctuation: what a tokenizer that claims Korean has to carry.
PROBE = "안녕하세요. 한국어 GPT-2 입니다. 값싼 옷을 2벌 샀다!"

#: Names of slots that tokenizers keep free for their users: KoGPT2, BERT-like, Llama 3.
FREE_SLOT = re.compile(r"(<unused(\d+)>|\[unused(\d+)\]|<\|reserved_special_token_(\d+)\|>)")

#: Special tokens of the layouts that come without tokenizer_config.json, by the names the field gives them.
COMMON_NAMES = {
    "eos_token": ("</s>", "<|endoftext|>", "<eos>", "[EOS]"),
    "bos_token": ("<s>", "<|endoftext|>", "<bos>", "[BOS]"),
    "unk_token": ("<unk>", "[UNK]"),
    "pad_token": ("<pad>", "[PAD]", "<|pad|>"),
    "mask_token": ("<mask>", "[MASK]"),
}


def load_tokenizer(model_args: ModelArguments, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder or a Hub model, checked to carry Korean, with eos, bos and pad set.

    ``AutoTokenizer`` alone is not enough. A GPT-2 folder without tokenizer_config.json, which is how ``skt/kogpt2-base-v2``
    comes, makes it put a byte-level pre-tokenizer over a vocabulary that has none, and every Hangul syllable is lost without
    a word (transformers#45812, #45920). So what it returns has to carry a Korean probe there and back; where it does not,
    tokenizer.json is read as it stands.

    ``model_max_length`` is set from the model's positions, since a bare tokenizer.json says 1e30 and would never cut.

    Raises:
        UserError: there is no tokenizer, it cannot be read, or it loses Korean.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils import cached_file

    name, common = model_args.model, hub_options(model_args)

    def find(file_name: str) -> str | None:
        # The contract is "None where it is missing", for folders, the Hub and the offline cache alike.
        try:
            return cached_file(
                name,
                file_name,
                revision=model_args.model_revision,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_gated_repo=False,
            )
        except Exception as error:  # a connection that broke off comes through as it is
            raise hub_failure(name, error) or error from None

    tokenizer = None
    reason = "it has no tokenizer files"
    if find("tokenizer_config.json"):
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **common)
        except (OSError, ValueError, KeyError, ImportError, json.JSONDecodeError) as error:
            reason = str(error).splitlines()[0]
        except Exception as error:
            reason = f"its tokenizer.json cannot be read ({error})"
    if (tokenizer is None or not carries_korean(tokenizer)) and (path := find("tokenizer.json")):
        try:
            bare = PreTrainedTokenizerFast.from_pretrained(name, **common, **_named_special_tokens(Path(path), config))
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
    if tokenizer.bos_token is None:
        tokenizer.bos_token = tokenizer.eos_token  # GPT-2's own way: a text begins where another one ended
    if tokenizer.pad_token is None:
        # Safe here: labels are built once, while encoding, so that no collator mistakes an eos for padding.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_max_length = max_positions(config)
    return tokenizer


def _no_tokenizer(model_args: ModelArguments, reason: str) -> UserError:
    """Why there is none: a Hub that failed looks, to who asks whether a file is there, like one without the file."""
    from transformers.utils import cached_file

    name = model_args.model
    if not Path(name).is_dir():
        try:
            cached_file(name, "tokenizer.json", revision=model_args.model_revision)
        except Exception as error:
            if failure := hub_failure(name, error):
                return failure
    return UserError(
        f"{name}: no tokenizer could be loaded: {reason}; copy tokenizer.json of its base model into the folder, "
        "or make a tokenizer with scripts/run_scratch.py"
    )


def max_positions(config: PretrainedConfig) -> int:
    """The longest sequence of tokens that the model can read; 1,024 where its config does not say."""
    for attribute in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, attribute, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1024


def carries_korean(tokenizer: PreTrainedTokenizerFast) -> bool:
    """True where a Korean sentence comes back from its ids with every character but white space."""
    ids = tokenizer(PROBE, add_special_tokens=False).input_ids
    back = tokenizer.decode(ids, skip_special_tokens=True)
    return "".join(unicodedata.normalize("NFKC", back).split()) == "".join(PROBE.split())


def _named_special_tokens(tokenizer_json: Path, config: PretrainedConfig) -> dict[str, str]:
    """The special tokens of a tokenizer.json that has no tokenizer_config.json, found by their usual names."""
    state = json.loads(tokenizer_json.read_text("utf-8"))
    vocabulary = {token["content"] for token in state["added_tokens"]}
    named = {role: next((name for name in names if name in vocabulary), None) for role, names in COMMON_NAMES.items()}
    if config.model_type == "gpt2" and named["eos_token"]:
        # KoGPT2 was trained with </s> at both ends, as GPT-2 was with <|endoftext|>; <s> is never seen.
        named["bos_token"] = named["eos_token"]
    return {role: name for role, name in named.items() if name}


def _keep_emoticons(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Make ordinary text that a tokenizer lists as special ordinary again.

    KoGPT2 lists 266 emoji and emoticons (ㅠㅠ, ^^, 😂) as special tokens, so ``skip_special_tokens=True`` deletes them from
    every answer, and splitting special tokens, which keeps a ``</s>`` in a document from ending it, takes them apart.
    """
    named = set(tokenizer.all_special_tokens)
    changed = []
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        looks_like_control = re.search(r"^\W?[<\[].*\w.*[>\]]$", token["content"])
        if token["special"] and token["content"] not in named and not looks_like_control:
            token["special"] = False
            changed.append(token["content"])
    return _rebuild(tokenizer, state) if changed else tokenizer


def _rebuild(tokenizer: PreTrainedTokenizerFast, state: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer from an edited tokenizer.json, with the special tokens of ``tokenizer``."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

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

    A free slot of the vocabulary (``<unused0>``) is renamed where there is one, so the vocabulary keeps its size and the
    model its embedding; elsewhere the separator is added at the end. A tokenizer that already has them is returned as is.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    listed = {token["content"] for token in state["added_tokens"] if token["special"]}
    unlisted = [str(separator) for separator in separators if separator not in listed]
    missing = [separator for separator in unlisted if separator not in vocabulary]
    if not unlisted:
        return tokenizer, []
    free = sorted(
        (int(next(filter(None, match.groups()[1:]))), token) for token in vocabulary if (match := FREE_SLOT.fullmatch(token))
    )
    slots = {token: separator for (_, token), separator in zip(free, missing)}
    if slots:
        _rename(state, slots)
        tokenizer = _rebuild(tokenizer, state)
    added = missing[len(slots) :]
    words = [separator for separator in unlisted if separator in vocabulary]  # ordinary words so far: they keep their id
    if words or added:
        tokenizer.add_special_tokens({"extra_special_tokens": words + added}, replace_extra_special_tokens=False)
    return tokenizer, tokenizer.convert_tokens_to_ids(added)


def _rename(state: dict[str, Any], slots: dict[str, str]) -> None:
    """Rename tokens inside a tokenizer.json, in place; ids stay. Merges never build a special token, so they stay too."""
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        state["model"]["vocab"] = {slots.get(token, token): index for token, index in vocabulary.items()}
    else:  # Unigram: a list of [token, score]
        state["model"]["vocab"] = [[slots.get(token, token), score] for token, score in vocabulary]
    listed = {token["content"]: token for token in state["added_tokens"]}
    for slot, separator in slots.items():
        entry = listed.get(slot)
        if entry is None:  # a slot of the plain vocabulary: text could run into it, so it has to be listed
            ids = state["model"]["vocab"]
            index = ids[separator] if isinstance(ids, dict) else [token for token, _ in ids].index(separator)
            entry = {"id": index, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            state["added_tokens"] = sorted([*state["added_tokens"], entry], key=lambda token: token["id"])
        entry.update(content=separator, special=True, normalized=False)


def make_portable(folder: str | Path) -> None:
    """Rewrite a saved tokenizer_config.json so that other programs can read it.

    transformers 5 writes a class name (``TokenizersBackend``) that transformers 4, llama.cpp and mlx do not know
    (transformers#47553, unsloth#8444, mlx-lm#683), and notes about this machine. It leaves out which inputs the model takes,
    and transformers 4 then hands it ``token_type_ids``: GPT-2 adds row 0 of its embedding to every position, and others
    refuse them. No model is trained on these here, so they are never named, whatever the base's own tokenizer says.
    """
    path = Path(folder) / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for note in ("is_local", "local_files_only", "backend"):
        config.pop(note, None)
    config["model_input_names"] = ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", "utf-8")
