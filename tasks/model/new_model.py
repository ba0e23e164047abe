"""A model from nothing: a tokenizer trained on a corpus (Metaspace BPE with byte fallback), and an empty GPT-2."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.arguments.generation import generation_settings
from tasks.base import Separator, Task
from tasks.errors import UserError
from tasks.model.loading import align_special_tokens
from tasks.model.opening import generation_config
from tasks.preparing.encoding import Encoder, sequence_length

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from tasks.arguments.command_line import RunArguments
    from tasks.arguments.model import ScratchArguments
    from tasks.preparing.run_data import RunData

SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}

#: Free slots for tasks to come, as many as KoGPT2 keeps.
FREE_SLOTS = 100

#: A character that the vocabulary lacks is written in these, so nothing ever becomes <unk>.
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def new_encoder(task: Task, args: RunArguments, data: RunData, checkpoint: str | None) -> Encoder:
    """A tokenizer trained on the training rows, with the separators of every task to come; that of a resumed run.

    It is trained once for the same texts: the next start and other processes read it. A resumed run takes its own, since
    characters that are equally rare leave a full alphabet in any order.

    Raises:
        UserError: as ``train_tokenizer``; ``--max_length`` is more than ``--n_positions``.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    size, positions = args.model.vocab_size, args.model.n_positions
    settings = generation_settings(task, args.generation)

    def build(folder: Path) -> None:
        tokenizer = train_tokenizer(data.texts(), size, task.separators, positions)
        (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), "utf-8")

    if checkpoint:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    elif folder := data.keep(["tokenizer", size, task.separators], build):
        tokenizer = _wrap(Tokenizer.from_file(str(folder / "tokenizer.json")), positions)
    else:
        tokenizer = train_tokenizer(data.texts(), size, task.separators, positions)
    if len(tokenizer) < size:
        print(f"the corpus gave {len(tokenizer):,} tokens, fewer than the {size:,} asked for")
    return Encoder(
        tokenizer, sequence_length(args.data.max_length, tokenizer), settings["max_new_tokens"], settings=settings
    )


def new_model(model_args: ScratchArguments, encoder: Encoder) -> GPT2LMHeadModel:
    """An empty GPT-2 for the tokenizer of ``encoder``."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel(gpt2_config(model_args.model_size, encoder.tokenizer, model_args.dropout))
    align_special_tokens(model, encoder.tokenizer)
    model.generation_config = generation_config(encoder.settings, encoder.tokenizer)
    return model


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, separators: Iterable[Separator], model_max_length: int
) -> PreTrainedTokenizerFast:
    """A tokenizer of at most ``vocab_size`` tokens; a small corpus gives fewer.

    Text is read in NFC, so that Hangul typed on a Mac is the same Hangul. Every piece of a prompt begins with ``▁`` (as in
    KoGPT2), so the first word of an answer is the same token as that word inside its context. A line break stands alone, so
    it never melts into a word. All else comes back as it was, white space in rows included; only one space at the very front
    of a text is taken for that mark.

    Raises:
        UserError: the vocabulary has no room for a single character, or the corpus is empty.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

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
        [
            pre_tokenizers.Metaspace(prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in [*special, *BYTES]],
            # Half for single characters at most: rare Hanja would otherwise push words out of a small vocabulary.
            limit_alphabet=(vocab_size - reserved) // 2,
            max_token_length=24,
        ),
    )
    # The bytes were handed in as special tokens to get their ids; listed as such, a "<0x41>" in a text would be read as A.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(BYTES)]
    # A corpus in which they stand as text (a dump of the web does) teaches merges that build them: text would become them.
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if "".join(pair) not in {*special, *BYTES}]
    if len(state["model"]["vocab"]) == reserved:
        raise UserError("the corpus has no text to train a tokenizer on; look at --train_file")
    return _wrap(Tokenizer.from_str(json.dumps(state)), model_max_length)


def _wrap(tokenizer: Tokenizer, model_max_length: int) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=model_max_length, **SPECIAL_TOKENS)


#: Layers, width and heads of GPT-2 (Radford et al. 2019, table 2), and a ``mini`` that two cores train in a minute.
GPT2_SIZES = {
    "mini": (3, 128, 4),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}


def gpt2_config(size: str, tokenizer: PreTrainedTokenizerFast, dropout: float = 0.1) -> GPT2Config:
    """The config of an empty GPT-2 of a published size, its embedding exactly as large as the tokenizer.

    GPT2Config's own default ids (50256) lie outside of a small vocabulary, so bos, eos and pad are set.
    """
    from transformers import GPT2Config

    n_layer, n_embd, n_head = GPT2_SIZES[size]
    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=tokenizer.model_max_length,
        n_layer=n_layer,
        n_embd=n_embd,
        n_head=n_head,
        # GPT-2's 0.02 was chosen for widths of 768 and more; a mini that starts so close to nothing learns much later.
        initializer_range=0.05 if size == "mini" else 0.02,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
