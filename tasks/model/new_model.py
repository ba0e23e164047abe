"""A new model: a tokenizer trained on a corpus (Metaspace BPE with byte fallback) and an untrained GPT-2 or Qwen3."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from tasks.arguments.command_line import RunArguments
from tasks.arguments.generation import generation_settings
from tasks.arguments.model import ScratchArguments
from tasks.base import Separator, Task
from tasks.errors import UserError
from tasks.model.loading import align_special_tokens, generation_config, special_ids
from tasks.preparing.conversations import set_chat_template
from tasks.preparing.encoding import Encoder, sequence_length
from tasks.preparing.run_data import RunData

SPECIAL_TOKENS = {
    "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
}  # fmt: skip

#: Reserved tokens for further tasks, as many as KoGPT2 has.
FREE_SLOTS = 100

#: Characters that are not in the vocabulary are encoded as bytes, so none becomes <unk>.
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def new_encoder(task: Task, args: RunArguments, data: RunData, checkpoint: str | None) -> Encoder:
    """The encoder of a tokenizer trained on the training rows.

    It is cached for later runs on the same texts and for other processes. A resumed run loads that of its ``checkpoint``.

    Raises UserError as ``train_tokenizer``, or if ``--max_length`` is more than ``--n_positions``.
    """
    size, positions = args.model.vocab_size, args.model.n_positions
    settings = generation_settings(task, args.generation)

    def train() -> PreTrainedTokenizerFast:
        return train_tokenizer(_Again(data.texts), size, task.separators, positions)

    what = ["tokenizer folder", size, positions, task.separators]
    folder = checkpoint or data.keep(what, lambda folder: train().save_pretrained(folder))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder) if folder else train()
    if len(tokenizer) < size:
        print(f"the corpus gave {len(tokenizer):,} tokens, fewer than the {size:,} asked for")
    set_chat_template(tokenizer, task)
    length = sequence_length(args.data.max_length, tokenizer)
    return Encoder(tokenizer, length, settings["max_new_tokens"], settings=settings)


def new_model(model_args: ScratchArguments, encoder: Encoder) -> PreTrainedModel:
    """An untrained model of ``--architecture`` for the tokenizer of ``encoder``."""
    new_config = {"gpt2": gpt2_config, "qwen3": qwen3_config}[model_args.architecture]
    model = AutoModelForCausalLM.from_config(new_config(model_args.model_size, encoder.tokenizer, model_args.dropout))
    align_special_tokens(model, encoder.tokenizer)
    model.generation_config = generation_config(encoder.settings, encoder.tokenizer)
    return model


@dataclass
class _Again:
    """Texts that ``read()`` begins anew each time that they are gone through."""

    read: Callable[[], Iterator[str]]

    def __iter__(self) -> Iterator[str]:
        return self.read()


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, separators: Iterable[Separator], model_max_length: int
) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most ``vocab_size`` tokens; a small corpus gives fewer.

    Text is normalised to NFC, since macOS decomposes Hangul. Every text begins with ``▁`` (as in KoGPT2), so the first word
    of an answer is the same token as inside its context. Line breaks are tokens of their own. Decoding restores white space,
    except one space at the very beginning. The same texts give the same tokenizer: of equally rare characters, for which
    there is not enough room, it has those of lower code points. Raises UserError if the vocabulary has no room, or the
    corpus no text.
    """
    special = [*SPECIAL_TOKENS.values(), *separators, *(f"<unused{i}>" for i in range(FREE_SLOTS))]
    reserved = len(special) + len(BYTES)
    if vocab_size < reserved + 100:
        raise UserError(
            f"--vocab_size {vocab_size} is too small: special tokens and bytes take {reserved}; "
            f"give {reserved + 100} or more"
        )
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"], byte_fallback=True, fuse_unk=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    texts = list(texts) if isinstance(texts, Iterator) else texts
    counts: Counter[str] = Counter()
    nfc = normalizers.NFC()  # one of its own: the tokenizer is locked while it is trained

    def counted() -> Iterator[str]:
        counts.clear()
        for text in texts:
            counts.update("▁" + nfc.normalize_str(text).replace(" ", "▁"))
            yield text

    # At most half for single characters: rare Hanja would otherwise displace words in a small vocabulary.
    options = {"vocab_size": vocab_size, "limit_alphabet": (vocab_size - reserved) // 2, "max_token_length": 24}
    options["special_tokens"] = [AddedToken(token, special=True, normalized=False) for token in [*special, *BYTES]]
    tokenizer.train_from_iterator(counted(), trainers.BpeTrainer(**options))
    if len(counts) > options["limit_alphabet"]:  # equally rare ones were chosen at random
        frequent = sorted(counts, key=lambda character: (-counts[character], character))[: options["limit_alphabet"]]
        tokenizer.train_from_iterator(counted(), trainers.BpeTrainer(**options, initial_alphabet=frequent))
    # The bytes were passed as special tokens to get ids; if they stayed special, a "<0x41>" in a text would become A.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(BYTES)]
    # A corpus that contains their names as text, as web dumps do, produces merges that would build them from text.
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if "".join(pair) not in {*special, *BYTES}]
    if len(state["model"]["vocab"]) == reserved:
        raise UserError("the corpus has no text to train a tokenizer on; look at --train_file")
    tokenizer = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=model_max_length, **SPECIAL_TOKENS)


#: Layers, width and heads of GPT-2 (Radford et al. 2019, table 2), a ``mini`` that two cores train in a minute, and a
#: ``compact`` of 25 M weights outside the embedding, for corpora of up to some hundred million tokens.
GPT2_SIZES = {
    "mini": (3, 128, 4),
    "compact": (8, 512, 8),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}


def gpt2_config(size: str, tokenizer: PreTrainedTokenizerFast, dropout: float = 0.1) -> GPT2Config:
    """The config of a GPT-2 of a published size, with one embedding row per token of the tokenizer.

    bos, eos and pad are set, because GPT2Config's default (50256) is outside a small vocabulary.
    """
    n_layer, n_embd, n_head = GPT2_SIZES[size]
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=tokenizer.model_max_length,
        n_layer=n_layer,
        n_embd=n_embd,
        n_head=n_head,
        initializer_range=initializer_range(size),
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        **special_ids(tokenizer),
    )


def qwen3_config(size: str, tokenizer: PreTrainedTokenizerFast, dropout: float = 0.1) -> Qwen3Config:
    """The config of a Qwen3 with the layers, width and heads of a GPT-2, and outside the embedding as many weights (2 %).

    A GPT-2's layer has 12 width² weights, 4 of them in attention. The other 8 become three matrices (SwiGLU) of 8/3 of the
    width. Qwen3 has dropout in attention alone.
    """
    layers, width, heads = GPT2_SIZES[size]
    return Qwen3Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width // heads,
        intermediate_size=round(width / 3) * 8,
        tie_word_embeddings=True,
        initializer_range=initializer_range(size),
        attention_dropout=dropout,
        **special_ids(tokenizer),
    )


def initializer_range(size: str) -> float:
    """GPT-2's 0.02 suits widths of 768 and more; a mini with such small weights takes much longer to learn."""
    return 0.05 if size == "mini" else 0.02
