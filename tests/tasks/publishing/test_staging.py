"""What may leave a run's folder, how it is rewritten on the way, and that it loads without this project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from tasks.errors import UserError
from tasks.publishing import staging
from tasks.publishing.staging import check_loads, check_secrets, stage, staged_names
from tasks.run_folder import weight_hashes, write_json
from tests.helpers.hub_server import ME
from tests.helpers.tiny_run import SENT, digests, edit_json, write_run

CARD = "---\nlicense: cc-by-nc-sa-4.0\n---\n# The card of the release\n"

#: What lies in the folders of runs and must never arrive, each by the names that programs give it.
NEVER = [
    ".env", ".gitignore", ".published.json", ".task.json.1.tmp", "data.csv", "events.out.tfevents.1", "logs.txt",
    "model.bin", "model.safetensors.bak", "notes.md", "optimizer.bin", "optimizer.pt", "predictions.jsonl",
    "pytorch_model-00001-of-00002.bin", "pytorch_model.bin", "rng_state.pth", "rng_state_0.pth", "run_report.json",
    "scaler.pt", "scheduler.pt", "test_predictions.jsonl", "train.jsonl", "trainer_state.json", "training_args.bin",
    "weights.safetensors",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(kogpt2_folder, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "nli", kogpt2_folder)


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A run's folder to be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "nli"))


@pytest.fixture
def place(tmp_path) -> Path:
    """An empty folder to stage in."""
    (tmp_path / "staged").mkdir()
    return tmp_path / "staged"


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def refused(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


# the list of what may be sent


def test_only_what_is_on_the_list_is_staged(run, place):
    for name in NEVER:
        (run / name).write_text("{}")
    for folder in ("checkpoint-1", "logs", "runs", ".git", ".publish-abc"):
        (run / folder).mkdir()
        for name in ("model.safetensors", "config.json", "README.md", "optimizer.pt"):
            (run / folder / name).write_text("{}")
    assert staged_names(run) == SENT
    assert stage(run, place, CARD) == SENT
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == SENT


def test_benchmarks_of_these_weights_are_sent(run, place):
    write_json(run / "benchmarks.json", {"weights_sha256": weight_hashes(run), "results": []})
    assert stage(run, place, CARD) == sorted([*SENT, "benchmarks.json"])
    edit_json(place / "benchmarks.json", model="/home/kim/model")
    assert "benchmarks.json holds" in refused(check_secrets, place, ["benchmarks.json"], ())
    edit_json(run / "benchmarks.json", weights_sha256={"model.safetensors": "0" * 64})
    assert staged_names(run) == SENT


def test_everything_that_a_tokenizer_or_shards_need_is_sent(run):
    more = [
        "added_tokens.json", "chat_template.jinja", "merges.txt", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json", "special_tokens_map.json", "spiece.model",
        "tokenizer.model", "vocab.json", "vocab.txt",
    ]  # fmt: skip
    for name in more:
        (run / name).write_text("{}")
    assert staged_names(run) == sorted([*SENT, *more])


def test_predictions_are_sent_where_they_are_asked_for(run, place):
    for name in ("predictions.jsonl", "test_predictions.jsonl", "train_predictions.jsonl"):
        (run / name).write_text('{"id": "0"}\n')
    assert stage(run, place, CARD, predictions=True) == sorted([*SENT, "predictions.jsonl", "test_predictions.jsonl"])
    assert (place / "predictions.jsonl").read_text() == '{"id": "0"}\n'


@pytest.mark.parametrize("missing", ["README.md", "loss.png", "generation_config.json", "all_results.json"])
def test_what_a_model_loads_without_may_be_missing(run, place, missing):
    (run / missing).unlink()
    assert stage(run, place, CARD) == [name for name in SENT if name != missing or name == "README.md"]
    assert (place / "README.md").read_text("utf-8") == CARD


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_folder_that_nobody_could_load_is_refused(run, place, missing):
    (run / missing).unlink()
    message = refused(stage, run, place, CARD)
    assert message == f"{run}: {missing} is missing, so nobody could load the model; is the run finished?"
    assert list(place.iterdir()) == []


def test_pickled_weights_are_no_weights(run):
    (run / "model.safetensors").rename(run / "pytorch_model.bin")
    message = "no weights as safetensors; pickled weights (.bin) are never published: save them again"
    assert refused(staged_names, run) == f"{run}: {message}"


def test_a_damaged_file_is_named_by_its_folder(run, place):
    (run / "config.json").write_text('{"model_type": "gpt2",')
    message = refused(stage, run, place, CARD)
    assert message.startswith(f"{run}: a JSON file there is damaged (") and message.endswith("; run again")


# links


@pytest.mark.parametrize("name", ["model.safetensors", "task.json", "README.md", "loss.png"])
@pytest.mark.parametrize("target", ["file", "folder above"])
def test_a_link_that_leads_out_is_refused(run, place, name, target):
    (run / name).rename(run.parent / "elsewhere")
    (run / name).symlink_to("../elsewhere" if target == "file" else "..")
    message = refused(stage, run, place, CARD)
    assert message == f"{run / name} is a link that leads out of the folder; put the file itself there"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("absolute", [False, True])
def test_a_link_that_stays_inside_is_followed(run, place, absolute):
    (run / "checkpoint-1").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (run / name).rename(run / "checkpoint-1" / name)
        (run / name).symlink_to((run if absolute else Path()) / "checkpoint-1" / name)
    before = digests(run)
    assert stage(run, place, CARD) == SENT
    assert digests(run) == before
    for name in ("model.safetensors", "tokenizer.json"):
        assert not (place / name).is_symlink()
        assert (place / name).read_bytes() == (run / name).read_bytes()


def test_the_folder_itself_may_be_a_link(run, place, tmp_path):
    (tmp_path / "latest").symlink_to(run)
    assert stage(tmp_path / "latest", place, CARD) == SENT


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_what_is_no_file_is_refused(run, place, kind):
    (run / "loss.png").unlink()
    if kind == "folder":
        (run / "loss.png").mkdir()
    else:
        (run / "loss.png").symlink_to("gone.png")
    reason = "Is a directory" if kind == "folder" else "No such file or directory"
    assert refused(stage, run, place, CARD) == f"{run / 'loss.png'}: {reason}; nothing was sent"


# rewriting


def test_the_staged_copy_is_rewritten_and_the_run_stays_as_it_was(run, place):
    edit_json(run / "config.json", use_cache=False)
    edit_json(run / "tokenizer_config.json", tokenizer_class="TokenizersBackend", is_local=True, local_files_only=True)
    before = digests(run)
    stage(run, place, CARD)
    assert digests(run) == before

    config, tokenizer = read(place / "config.json"), read(place / "tokenizer_config.json")
    assert config == read(run / "config.json") | {"use_cache": True}
    assert tokenizer == {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "</s>", "eos_token": "</s>", "mask_token": "<mask>",
        "pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 128,
        "model_input_names": ["input_ids", "attention_mask"],
    }  # fmt: skip
    for name in ("model.safetensors", "tokenizer.json", "loss.png", "generation_config.json", "task.json"):
        assert (place / name).read_bytes() == (run / name).read_bytes()


def test_another_tokenizer_class_stays(run, place):
    edit_json(run / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")
    stage(run, place, CARD)
    assert read(place / "tokenizer_config.json")["tokenizer_class"] == "LlamaTokenizerFast"


@pytest.mark.parametrize("links", [True, False])
def test_weights_are_linked_where_that_is_possible(run, place, monkeypatch, links):
    def no_links(*_: object) -> None:
        raise OSError("Operation not permitted")

    if not links:
        monkeypatch.setattr(staging, "os", SimpleNamespace(link=no_links))
    stage(run, place, CARD)
    assert (place / "model.safetensors").samefile(run / "model.safetensors") == links
    assert (place / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert not any((place / name).samefile(run / name) for name in SENT if name != "model.safetensors")


# secrets

TOKEN = "hf_" + "Ab3" * 12  # put together here, as ME is


def plant(run: Path, where: str, secret: str) -> None:
    """Hide a secret in a file that is on the list."""
    if where == "model.safetensors":
        save_file(load_file(run / where), run / where, metadata={"format": "pt", "note": f"pushed with {secret}"})
    elif where.endswith(".json"):
        edit_json(run / where, note=f"pushed with {secret}")
    else:
        (run / where).write_bytes((run / where).read_bytes() + f"pushed with {secret}".encode())


@pytest.mark.parametrize(
    "where", ["task.json", "config.json", "all_results.json", "tokenizer_config.json", "model.safetensors", "loss.png"]
)
def test_a_planted_token_is_found_and_not_told(run, place, where):
    plant(run, where, TOKEN)
    names = stage(run, place, CARD)
    message = refused(check_secrets, place, names, [])
    assert message == f"{where} holds what looks like a secret (Hugging Face token); nothing was sent; take it out"


def test_a_token_in_the_card_is_found(run, place):
    names = stage(run, place, f"{CARD}\nMine is {TOKEN}.\n")
    message = refused(check_secrets, place, names, [])
    assert message == "README.md holds what looks like a secret (Hugging Face token); nothing was sent; take it out"


@pytest.mark.parametrize("where", ["model.safetensors", "tokenizer_config.json", "loss.png", "generation_config.json"])
def test_ones_own_password_is_found_whatever_it_looks_like(run, place, where):
    password = "correct-horse-battery"
    plant(run, where, password)
    names = stage(run, place, CARD)
    check_secrets(place, names, [])  # nobody could tell
    message = refused(check_secrets, place, names, [password])
    assert message == f"{where} holds what looks like a secret (access token of yours); nothing was sent; take it out"


@pytest.mark.parametrize("where", ["task.json", "config.json", "generation_config.json", "all_results.json"])
def test_where_the_user_keeps_files_is_nobodys_business(run, place, where):
    edit_json(run / where, note="/home/kim/secret-project/news.csv")
    names = stage(run, place, CARD)
    message = refused(check_secrets, place, names, [])
    assert message == f"{where} holds absolute path: '/home/kim/secret-project/news.csv'; nothing was sent; take it out"


def test_the_address_that_came_with_the_base_model_is_no_secret(run, place):
    edit_json(run / "config.json", author="Heewon Jeon(someone@example.com)")  # as in skt/kogpt2-base-v2
    check_secrets(place, stage(run, place, CARD), [])


def test_a_clean_folder_passes(run, place):
    check_secrets(place, stage(run, place, CARD), [ME, TOKEN, "correct-horse-battery"])


# loaded again


def test_a_good_folder_loads_in_a_fresh_process(run, place, monkeypatch):
    """Without a token, without the network and without this project's folder to import from."""
    edit_json(run / "config.json", use_cache=False)
    stage(run, place, CARD)
    before, seen, start = digests(run), [], subprocess.run

    def spy(command: list[str], **settings: object) -> subprocess.CompletedProcess:
        seen.append((command, settings))
        return start(command, **settings)

    monkeypatch.setenv("HF_TOKEN", ME)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", ME)
    monkeypatch.setattr(subprocess, "run", spy)
    check_loads(run, place)
    assert digests(run) == before
    [(command, settings)] = seen
    assert (command[:2], settings["cwd"], settings["env"]["HF_HUB_OFFLINE"]) == ([sys.executable, "-c"], place, "1")
    assert ME not in settings["env"].values()
    assert "tasks" not in command[2] and "trust_remote_code" not in command[2]


def test_other_weights_are_noticed(run, place, in_this_process):
    stage(run, place, CARD)
    (place / "model.safetensors").unlink()  # the run's own file is linked to it
    weights = load_file(run / "model.safetensors")
    weights["transformer.h.0.mlp.c_fc.weight"] = -weights["transformer.h.0.mlp.c_fc.weight"]
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    message = "loaded with stock transformers, the model predicts other tokens than the run; nothing was sent"
    assert refused(check_loads, run, place) == f"{run}: {message}"


def test_a_tokenizer_that_reads_otherwise_is_noticed(run, place, in_this_process):
    """KoGPT2's own layout, without a tokenizer_config.json: AutoTokenizer destroys Korean, silently."""
    stage(run, place, CARD)
    (place / "tokenizer_config.json").unlink()
    message = "loaded with stock transformers, the model reads Korean as other tokens than the run; nothing was sent"
    assert refused(check_loads, run, place) == f"{run}: {message}"


def test_a_folder_that_does_not_load_is_noticed(run, place, in_this_process):
    stage(run, place, CARD)
    (place / "model.safetensors").unlink()
    (place / "model.safetensors").write_bytes(b"not a weight")
    message = refused(check_loads, run, place)
    assert message.startswith(f"{run}: what would be published cannot be loaded with stock transformers (SafetensorError: ")
    assert message.endswith("); nothing was sent") and "\n" not in message


def test_the_cache_of_keys_and_values_has_to_be_on(run, place, in_this_process):
    stage(run, place, CARD)
    edit_json(place / "config.json", use_cache=False)
    message = "what would be published cannot be loaded with stock transformers (use_cache is off); nothing was sent"
    assert refused(check_loads, run, place) == f"{run}: {message}"


@pytest.mark.parametrize("names", [["input_ids", "token_type_ids", "attention_mask"], ["input_ids", "token_type_ids"]])
def test_inputs_that_the_model_was_not_trained_on_are_noticed(run, place, in_this_process, names):
    """transformers 4 hands over token_type_ids where model_input_names is missing, 5 where it names them."""
    stage(run, place, CARD)
    check_loads(run, place)
    edit_json(place / "tokenizer_config.json", model_input_names=names)
    message = "loaded with stock transformers, the model answers what its tokenizer returns otherwise than the run"
    assert refused(check_loads, run, place) == f"{run}: {message}; nothing was sent"


def test_a_text_that_leaves_no_room_for_an_answer_is_left_out(run, place, in_this_process):
    edit_json(run / "task.json", max_length=24)
    stage(run, place, CARD)
    check_loads(run, place)


def test_half_precision_is_compared_in_half_precision(run, place, in_this_process):
    GPT2LMHeadModel.from_pretrained(run, dtype=torch.bfloat16).save_pretrained(run)
    stage(run, place, CARD)
    assert read(place / "config.json")["dtype"] == "bfloat16"
    check_loads(run, place)
