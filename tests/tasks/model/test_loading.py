"""Models of four layouts get an embedding for their separators; what cannot be loaded is named."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, T5Config, ViTConfig

from tasks import get_task
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.model.new_model import GPT2_SIZES, gpt2_config
from tasks.model.tokenizer import add_separators, load_tokenizer
from tests.conftest import model_args

QA = get_task("qa").separators


def copy(folder: str, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def prepare(folder: str | Path, **overrides):
    """(model, tokenizer, ids appended, the model as it was) of a folder with the separators of qa."""
    arguments = model_args(str(folder), **overrides)
    tokenizer, appended = add_separators(load_tokenizer(arguments, load_config(arguments)), QA)
    return load_model(arguments, tokenizer, appended), tokenizer, appended, AutoModelForCausalLM.from_pretrained(folder)


def test_renamed_slots_leave_every_weight_untouched(kogpt2_folder):
    model, tokenizer, appended, before = prepare(kogpt2_folder)
    assert appended == []
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    for name, weight in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


@pytest.mark.parametrize(("name", "reported"), [("attn.masked_bias", False), ("attn.extra", True)])
def test_constants_of_old_weights_are_not_reported_as_unexpected(
    kogpt2_folder, tmp_path, caplog, monkeypatch, name, reported
):
    folder = copy(kogpt2_folder, tmp_path)
    state = load_file(folder / "model.safetensors") | {f"transformer.h.0.{name}": torch.tensor(-1e4)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    load_model(model_args(str(folder)), load_tokenizer(model_args(str(folder)), load_config(model_args(str(folder)))))
    assert (name in caplog.text) == reported


@pytest.mark.parametrize(("layout", "tied"), [("gpt2", True), ("llama", False)])
def test_appended_rows_are_the_mean_of_the_old_and_padded_to_a_multiple_of_64(request, layout, tied):
    model, tokenizer, appended, before = prepare(request.getfixturevalue(f"{layout}_folder"))
    old = before.get_input_embeddings().weight.shape[0]
    assert appended == [old, old + 1] and len(tokenizer) == old + 2
    rows = -(-len(tokenizer) // 64) * 64
    assert model.config.vocab_size == rows
    for now, then in (
        (model.get_input_embeddings().weight, before.get_input_embeddings().weight),
        (model.get_output_embeddings().weight, before.get_output_embeddings().weight),
    ):
        assert now.shape == (rows, 32)
        assert torch.equal(now[:old], then)
        torch.testing.assert_close(now[old:], then.mean(dim=0).expand(rows - old, -1))
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied


def test_slack_at_the_end_is_used_and_starts_at_the_mean_of_the_used_rows(neox_folder):
    model, _, appended, before = prepare(neox_folder)
    first = appended[0]
    assert first < 512 and model.get_input_embeddings().weight.shape[0] == 512
    for now, then in (
        (model.get_input_embeddings().weight, before.get_input_embeddings().weight),
        (model.get_output_embeddings().weight, before.get_output_embeddings().weight),
    ):
        assert torch.equal(now[:first], then[:first])
        torch.testing.assert_close(now[first:], then[:first].mean(dim=0).expand(512 - first, -1))


def test_slack_stays_as_it_was_where_nothing_is_appended(neox_folder):
    arguments = model_args(neox_folder)
    model = load_model(arguments, load_tokenizer(arguments, load_config(arguments)))
    before = AutoModelForCausalLM.from_pretrained(neox_folder)
    for name, weight in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_a_model_that_was_saved_with_separators_loads_unchanged(any_folder, tmp_path):
    model, tokenizer, _, _ = prepare(any_folder)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _, appended, _ = prepare(tmp_path)
    assert appended == []
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_configs_name_the_tokenizers_special_tokens(any_folder):
    model, tokenizer, _, _ = prepare(any_folder)
    for config in (model.config, model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (
            tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_have_the_type_that_was_asked_for(gpt2_folder, dtype):
    model, *_ = prepare(gpt2_folder, dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}


# Errors


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "outputs/nowhere", "a/summarize/nowhere"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(UserError, match=rf"--model {name}: no such folder; check the path"):
        load_config(model_args(name))


def test_a_missing_folder_is_told_with_those_called_alike(tmp_path, monkeypatch):
    for name in ("nli-kogpt2-base-v2", "qa-kogpt2-base-v2", "summarize"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_config(model_args("outputs/nli-kogpt2-base-2"))
    assert str(caught.value) == (
        "--model outputs/nli-kogpt2-base-2: no such folder (did you mean outputs/nli-kogpt2-base-v2 or "
        "outputs/qa-kogpt2-base-v2?); check the path"
    )


def test_a_hub_name_without_network_is_told_apart_from_a_wrong_path():
    with pytest.raises(UserError, match="me/nowhere: no such folder here, and the Hub cannot be reached"):
        load_config(model_args("me/nowhere"))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}: "):
        load_config(model_args(str(tmp_path)))


@pytest.mark.parametrize("text", ["", "{", "[]", '"gpt2"', '{"vocab_size": 3}', '{"model_type": "no_such_type"}'])
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=f"^{tmp_path}: "):
        load_config(model_args(str(tmp_path)))


@pytest.mark.parametrize("config", [T5Config(), ViTConfig()])
def test_a_model_that_is_no_causal_lm_is_refused(tmp_path, config):
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{config.model_type} is no causal language model; take a GPT"):
        load_config(model_args(str(tmp_path)))


@pytest.mark.parametrize("keep", [0, 5, 400, -1000])
def test_damaged_weights_are_refused(gpt2_folder, tmp_path, keep):
    folder = copy(gpt2_folder, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"copy: model\.safetensors is damaged or cut off"):
        prepare(folder)


def test_missing_weights_are_refused(gpt2_folder, tmp_path):
    folder = copy(gpt2_folder, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"copy: .*model\.safetensors"):
        prepare(folder)


def test_weights_that_do_not_fit_the_config_are_refused(gpt2_folder, tmp_path):
    folder = copy(gpt2_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"n_embd": 64}), "utf-8")
    with pytest.raises(UserError, match="copy: "):
        prepare(folder)


# An empty model


def test_an_empty_gpt2_has_the_published_size_and_the_tokenizers_ids(kogpt2_folder):
    arguments = model_args(kogpt2_folder)
    tokenizer = load_tokenizer(arguments, load_config(arguments))
    config = gpt2_config("small", tokenizer)
    assert (config.n_layer, config.n_embd, config.n_head) == (12, 768, 12)
    assert (config.vocab_size, config.n_positions) == (len(tokenizer), 128)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 1, 3)
    assert all(width % heads == 0 for _, width, heads in GPT2_SIZES.values())


@pytest.mark.parametrize("given", [None, 0.0, 0.3])
def test_dropout_is_the_models_own_unless_given(any_folder, given):
    arguments = model_args(any_folder)
    tokenizer = load_tokenizer(arguments, load_config(arguments))
    own = [module.p for module in load_model(arguments, tokenizer).modules() if isinstance(module, torch.nn.Dropout)]
    model = load_model(model_args(any_folder, dropout=given), tokenizer)
    found = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert found == (own if given is None else [given] * len(own))


# code of the Hub


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"_attn_implementation": "someone/kernel"}, '"someone/kernel"'),
        ({"attn_implementation": "someone/kernel:function"}, '"someone/kernel:function"'),
        ({"attn_implementation": {"": "sdpa", "text_config": "paged|a/b"}}, '{"": "sdpa", "text_config": "paged|a/b"}'),
        ({"text_config": {"_attn_implementation": "a/b"}}, '"a/b"'),
    ],
)
def test_attention_that_is_code_of_the_hub_is_refused(kogpt2_folder, tmp_path, settings, code):
    folder = copy(kogpt2_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings), "utf-8")
    with pytest.raises(UserError) as caught:
        load_config(model_args(str(folder)))
    assert str(caught.value) == (
        f"{folder}: its attention ({code}) is code of the Hub, which would run here; read it, then add --trust_remote_code"
    )
    assert load_config(model_args(str(folder), trust_remote_code=True)).model_type == "gpt2"


def test_attention_of_the_command_line_is_asked_for_the_same(kogpt2_folder):
    with pytest.raises(UserError, match=r"its attention \(a/b\) is code of the Hub"):
        load_config(model_args(kogpt2_folder, attn_implementation="a/b"))
    assert load_config(model_args(kogpt2_folder, attn_implementation="sdpa")).model_type == "gpt2"


def test_the_tokenizer_of_another_model_is_refused(kogpt2_folder, neox_folder, tmp_path):
    folder = copy(kogpt2_folder, tmp_path)
    state = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    rows = len(state["model"]["vocab"])
    state["model"]["vocab"] |= {f"foreign{number}": rows + number for number in range(3)}
    (folder / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    with pytest.raises(UserError) as caught:
        prepare(folder)
    assert str(caught.value) == (
        f"{folder}: its tokenizer has {rows + 3:,} tokens and its weights know {rows:,}, so it is another model's; put the "
        "model's own tokenizer.json there"
    )
    prepare(neox_folder)  # more rows than tokens, as many models have
