"""The files of a run that are published: selected by name, made portable, scanned for secrets, loaded in a new process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tasks import TASKS, task_of
from tasks.errors import UserError
from tasks.model.adapters import base_arguments
from tasks.model.model_files import ADAPTER_CONFIG, ADAPTER_FILES, WHOLE_FILES, make_portable
from tasks.publishing.report import benchmarks_of
from tasks.publishing.secrets import find_private, readable, scan_file, scan_paths
from tasks.run_folder import BENCHMARKS_FILE, PREDICTIONS_FILE, RESULTS_FILE, TASK_FILE, RunConfig
from tasks.training.plots import CONFUSION

CARD_FILE = "README.md"

#: Of the files of one task, and of each of several.
PREFIXES = ("", *(f"{task}_" for task in TASKS))

#: All that is ever sent, and benchmarks of these weights; never pickles, optimizer state, checkpoints, logs, data, dotfiles.
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja",
)  # fmt: skip
ALLOWED = (
    *WHOLE_FILES, *ADAPTER_FILES, *TOKENIZER, "generation_config.json", TASK_FILE, CARD_FILE, RESULTS_FILE, "loss.png",
    *(f"{prefix}{CONFUSION}" for prefix in PREFIXES),
)  # fmt: skip
PREDICTIONS = tuple(f"{prefix}{split}{PREDICTIONS_FILE}" for prefix in PREFIXES for split in ("", "test_"))
#: Those in which programs may have written a path of this machine.
SETTINGS = ("config.json", ADAPTER_CONFIG, "generation_config.json", "tokenizer_config.json", TASK_FILE, RESULTS_FILE,
            BENCHMARKS_FILE)  # fmt: skip

#: Loads the staged folder without this project, network or token. An adapter is loaded as by PEFT's
#: AutoPeftModelForCausalLM, but with the base from where this machine has it.
_STOCK = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, GenerationConfig
probe = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(probe["folder"])
base = probe["base"]
auto = AutoModelForSequenceClassification if probe["head"] else AutoModelForCausalLM
model = auto.from_pretrained(**(base or {"pretrained_model_name_or_path": probe["folder"]}))
if base:
    from peft import PeftModel
    if len(tokenizer) > len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(len(tokenizer))
    model = PeftModel.from_pretrained(model, probe["folder"])
    model.generation_config = GenerationConfig.from_pretrained(probe["folder"])
model.eval()
if not model.config.use_cache:
    sys.exit("use_cache is off")
with torch.no_grad():
    following = [model(torch.tensor([ids])).logits[0].argmax(-1).tolist() for ids in probe["prompts"]]
texts = [tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids for text in probe["texts"]]
def answer(inputs):
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    if probe["head"]:
        return logits.tolist()
    output = model.generate(**inputs, max_new_tokens=8, num_beams=1, do_sample=False)
    return logits.argmax(-1).tolist(), output[0].tolist()
same = True
for text in probe["texts"]:
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=probe["longest"])
    ids = inputs["input_ids"]
    same = same and answer(inputs) == answer({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
print(json.dumps({"texts": texts, "following": following, "same": same}))
"""


def staged_names(folder: Path, predictions: bool = False) -> list[str]:
    """The files of ``folder`` that are published.

    Raises:
        UserError: weights, config or tokenizer are missing, or a file is damaged or a link that leads out of the folder.
    """
    patterns = (*ALLOWED, *(PREDICTIONS if predictions else ()), *([BENCHMARKS_FILE] if benchmarks_of(folder) else []))
    names = sorted(path.name for path in folder.iterdir() if any(fnmatch(path.name, pattern) for pattern in patterns))
    inside = folder.resolve()
    for name in names:
        if not (folder / name).resolve().is_relative_to(inside):
            raise UserError(f"{folder / name} is a link that leads out of the folder; put the file itself there")
    config = ADAPTER_CONFIG if ADAPTER_CONFIG in names else "config.json"
    if config == ADAPTER_CONFIG and "config.json" in names:
        raise UserError(f"{folder}: holds a whole model and an adapter; remove the files of the one that is not meant")
    for needed in (config, "tokenizer.json"):
        if needed not in names:
            raise UserError(f"{folder}: {needed} is missing, so nobody could load the model; is the run finished?")
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"{folder}: no weights as safetensors; pickled weights (.bin) are never published: save them again")
    return names


def stage(
    folder: Path, destination: Path, card: str, predictions: bool = False, adapter_base: str | None = None
) -> list[str]:
    """Put what will be sent, the card included, into the empty folder ``destination``. Returns the names.

    ``adapter_base`` is the Hub id of an adapter's base, for which the run may name a local folder. Weights are hard links if
    the file system allows it. ``folder`` is not changed.

    Raises:
        UserError: as ``staged_names``; a JSON file is damaged, a file cannot be read, or the disk is full.
    """
    names = [name for name in staged_names(folder, predictions) if name != CARD_FILE]
    try:
        for name in names:
            if name.endswith(".safetensors"):
                _link(folder / name, destination / name)
            else:
                shutil.copyfile(folder / name, destination / name)
        (destination / CARD_FILE).write_text(card, "utf-8")
        if "tokenizer_config.json" in names:
            make_portable(destination)
        _set(destination / "config.json", use_cache=True)
        _set(destination / ADAPTER_CONFIG, base_model_name_or_path=adapter_base)
    except ValueError as error:
        raise UserError(f"{folder}: a JSON file there is damaged ({error}); run again") from None
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}; nothing was sent") from None
    return sorted([*names, CARD_FILE])


def _link(source: Path, destination: Path) -> None:
    try:
        os.link(source.resolve(), destination)  # of a link, the file itself
    except OSError:  # another file system
        shutil.copyfile(source, destination)


def _set(path: Path, **values: Any) -> None:
    """Set values of a JSON file, if it exists."""
    if path.is_file():
        content = json.loads(path.read_text("utf-8")) | values
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", "utf-8")


def check_secrets(staged: Path, names: Iterable[str], known_secrets: Iterable[str]) -> None:
    """Raises UserError, with the kind of secret and never the secret, if a file holds one or a path of this machine."""
    for name in names:
        found = scan_file(staged / name, known_secrets)
        if found:
            raise UserError(f"{name} holds what looks like a secret ({', '.join(found)}); nothing was sent; take it out")
        private = []
        if name not in (CARD_FILE, *PREDICTIONS):  # the card is linted; in predictions stand the rows
            private = scan_paths(staged / name)
        if name in SETTINGS:
            # An e-mail address there is the base model's: KoGPT2's config.json names its author.
            private += [found for found in find_private(readable(staged / name)) if found[0] != "e-mail address"]
        if private:
            kind, excerpt = private[0]
            raise UserError(f"{name} holds {kind}: {excerpt!r}; nothing was sent; take it out")


def check_loads(run: Path, staged: Path) -> None:
    """Load the staged folder in a new process with stock transformers, and compare it with the run's own folder.

    Token ids of Korean texts and the most probable token after every token of a prompt have to be the same. The model has to
    answer to all that its tokenizer returns as it does to ids and mask, which the card's program passes.

    Raises:
        UserError: the staged folder does not load, or differs.
    """
    probe, expected = _expected(run)
    kept = {name: value for name, value in os.environ.items() if "TOKEN" not in name or name == "TOKENIZERS_PARALLELISM"}
    result = subprocess.run(
        [sys.executable, "-c", _STOCK],
        check=False,
        input=json.dumps(probe | {"folder": str(staged.resolve())}),
        capture_output=True,
        text=True,
        cwd=staged,
        env=kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(
            f"{run}: what would be published cannot be loaded with stock transformers ({reason}); nothing was sent"
        )
    found = json.loads(result.stdout.splitlines()[-1])
    for what, message in (
        ("texts", "reads Korean as other tokens"),
        ("following", "predicts other tokens"),
        ("same", "answers what its tokenizer returns otherwise"),
    ):
        if found[what] != expected[what]:
            raise UserError(f"{run}: loaded with stock transformers, the model {message} than the run; nothing was sent")


def _expected(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Texts and prompts to probe with, and what the run's own folder makes of them."""
    import torch

    from tasks.arguments.generation import GenerationArguments
    from tasks.arguments.model import ModelArguments
    from tasks.inference.predicting import load_predictor
    from tasks.model.config import load_config
    from tasks.model.tokenizer import PROBE

    model_args = ModelArguments(model=str(run))
    model_args.dtype = str(getattr(load_config(model_args), "dtype", None) or "float32").removeprefix("torch.")
    tasks = list(map(task_of, RunConfig.load(run).parts))
    tasks.sort(key=lambda task: not task.conversational)  # its template is kept for a conversation
    predictor = load_predictor(model_args, GenerationArguments(), chosen=False, task_name=tasks[0].name)
    model, encoder = predictor.model.to("cpu").eval(), predictor.encoder
    texts = [PROBE, *(text for task in tasks for text in task.usage_example.values())]
    prompts: list[list[int]] = []
    for task in tasks:
        row = {"id": "probe", **{column.name: PROBE for column in task.input_columns}, **task.usage_example}
        prompts += encoder.prompts([task.input_example(row)])[0]
    with torch.no_grad():
        following = [model(torch.tensor([ids])).logits[0].argmax(-1).tolist() for ids in prompts]
    base = base_arguments(model_args)
    probe = {
        "texts": texts,
        "prompts": prompts,
        "head": tasks[0].head,
        "longest": encoder.max_length - 8,  # as many tokens are generated
        "base": base and {"pretrained_model_name_or_path": base.model, "revision": base.model_revision},
    }
    return probe, {"texts": encoder.tokenize(texts)[0], "following": following, "same": True}
