"""What the tests share: tiny models and tokenizers, made here, and scripts run through their command line."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on the network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="cache-")  # no test may depend on an earlier run's

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tasks.base import Task
from tasks.model.config import load_config
from tasks.model.tokenizer import PROBE, add_separators, load_tokenizer
from tasks.preparing.conversations import set_chat_template

atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
torch.set_num_threads(1)  # models this small only wait for a second thread

ROOT = Path(__file__).parent.parent


def pytest_collection_finish() -> None:
    """Let later collections of garbage pass over what the imports made: a Trainer starts several, of half a second each."""
    gc.collect()
    gc.freeze()


CORPUS = [
    PROBE,
    "서울은 대한민국의 수도이다. 부산은 바다에 접한 도시이다.",
    "민준이는 도서관에서 책을 빌렸다. 서연이는 공원에서 자전거를 탔다.",
    "시청은 다음 달부터 주말에도 도서관을 연다고 밝혔다.",
    "참 중립 모순 사과를 먹었다. 과일을 먹지 않았다. 비가 온다. 날씨가 맑다.",
    "누가 책을 빌렸나요? 어디에서 자전거를 탔나요? 언제부터 도서관을 여나요?",
    "0 1 2 3 4 5 6 7 8 9 2022년 2023년 </s> <summarize> < > / s u m a r i z e",
]


def kogpt2_tokenizer_json() -> str:
    """A tokenizer.json in the layout of KoGPT2: Metaspace BPE, NFKC, special tokens first, emoticons among them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<usr>", "<pad>", "<sys>", "<unk>", "<mask>", "<d>", "</d>"]
    special += [f"<unused{i}>" for i in range(100)] + ["ㅠㅠ", ":)", "😂"]
    tokenizer.train_from_iterator(
        CORPUS * 2, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    return tokenizer.to_str()


def byte_level_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """GPT-2's kind: byte-level BPE, one special token, no pad."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(dict.fromkeys(special.values())), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def gpt2(vocab_size: int, **overrides: int) -> GPT2LMHeadModel:
    """A GPT-2 that fits two rows of a test into a millisecond, without dropout so that runs can be compared."""
    settings = {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 128} | overrides
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size, bos_token_id=1, eos_token_id=1, pad_token_id=3,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **settings,
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def kogpt2_folder(tmp_path_factory) -> str:
    """A model folder as ``skt/kogpt2-base-v2`` has it: config.json, weights and tokenizer.json, no tokenizer_config.json."""
    folder = tmp_path_factory.mktemp("models") / "kogpt2"
    text = kogpt2_tokenizer_json()
    gpt2(len(json.loads(text)["model"]["vocab"])).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text, "utf-8")
    (folder / "generation_config.json").unlink(missing_ok=True)
    return str(folder)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory) -> str:
    """Byte-level BPE, no pad token, no free slots."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    tokenizer = byte_level_tokenizer(bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    gpt2(len(tokenizer)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory) -> str:
    """Llama-like: rotary positions, an untied head, a tokenizer that puts bos in front of every text."""
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path_factory.mktemp("models") / "llama"
    tokenizer = byte_level_tokenizer(bos_token="<s>", eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def neox_folder(tmp_path_factory) -> str:
    """GPT-NeoX-like (Polyglot-Ko): an embedding with more rows than the tokenizer has tokens."""
    folder = tmp_path_factory.mktemp("models") / "neox"
    tokenizer = byte_level_tokenizer(bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=0, hidden_dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["kogpt2", "gpt2", "llama", "neox"])
def any_folder(request) -> str:
    """Each of the four layouts in turn."""
    return request.getfixturevalue(f"{request.param}_folder")


def model_args(folder: str, **overrides) -> SimpleNamespace:
    """The ModelArguments of a local folder."""
    defaults = {
        "model": folder,
        "model_revision": None,
        "dtype": "float32",
        "attn_implementation": None,
        "dropout": None,
        "trust_remote_code": False,
        "load_in_4bit": False,
    }
    return SimpleNamespace(**(defaults | overrides))


def tokenizer_of(folder: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a local folder, as the scripts load it."""
    return load_tokenizer(model_args(folder), load_config(model_args(folder)))


def with_separators(tokenizer: PreTrainedTokenizerFast, task: Task) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """The tokenizer with the task's chat template and separators, as ``open_encoder`` makes it, and the ids it appended."""
    set_chat_template(tokenizer, task)
    return add_separators(tokenizer, task.separators)


def write_rows(path: Path, rows: list[dict]) -> str:
    """Write a jsonl file; returns its path as text."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return str(path)


@dataclass
class Finished:
    """A script's exit code and output."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one ``error:`` line; there has to be exactly one, and no traceback."""
        assert "Traceback" not in self.stderr, self.stderr
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.stderr
        return lines[0].removeprefix("error: ")


def run_main(name: str, arguments: tuple[object, ...], stdin: str | io.TextIOBase, folder: Path) -> Finished:
    """Run ``scripts/<name>.py`` inside ``folder`` in this process (importing torch anew would take seconds a test)."""
    from tasks.errors import user_errors

    path = ROOT / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"script_{name}", path)
    module = importlib.util.module_from_spec(spec)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        patch.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                with user_errors():
                    module.main()
            except SystemExit as leave:
                code = leave.code
    return Finished(code, out.getvalue(), err.getvalue())


@pytest.fixture
def run_script(tmp_path):
    """Run a script with arguments; the working folder is the test's own."""
    return lambda name, *arguments, stdin="": run_main(name, arguments, stdin, tmp_path)


def _told(error: BaseException) -> str:
    """The last line that Python writes for an error that nobody catches."""
    return str(error) if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    """Run the program that loads the staged folder here: a fresh process needs seconds to import torch."""

    def run(command: list[str], *, input: str, **_: object) -> subprocess.CompletedProcess:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(input))
            try:
                exec(command[2], {})
            except (Exception, SystemExit) as error:
                return subprocess.CompletedProcess(command, 1, "", f"Traceback ...\n{_told(error)}\n")
        return subprocess.CompletedProcess(command, 0, out.getvalue(), "")

    monkeypatch.setattr("tasks.publishing.staging.subprocess", SimpleNamespace(run=run))
