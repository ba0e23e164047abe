"""LoRA adapters: what is trained, that they learn, resume and load as the model that was trained, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks import get_task
from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError
from tasks.model.adapters import add_adapter
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.model.tokenizer import add_separators, load_tokenizer
from tasks.preparing.encoding import Encoder
from tasks.run_folder import RunConfig
from tasks.training.collator import CompletionCollator
from tasks.training.trainer import CompletionTrainer
from tests.conftest import model_args

TASK = get_task("summarize")
ROWS = [
    {"id": str(i), "document": "민준이는 책을 빌렸다." + " 누가" * (i % 3), "summary": summary}
    for i, summary in enumerate(["참", "비가 온다.", "서울은 대한민국의 수도이다.", "책", "과일을", "날씨가 맑다."])
]
#: The linear layers of each layout but its head, as they are called.
LAYERS = {
    "kogpt2": {"c_attn", "c_proj", "c_fc"},
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "neox": {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
}


def lora_args(folder: str | Path, **overrides) -> SimpleNamespace:
    """The FineTuningArguments of a local folder, without dropout so that runs can be compared."""
    settings = {
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
        "merge_adapter": False,
    }
    return model_args(str(folder), **(settings | overrides))


def make(folder, output_dir: Path, arguments=None, score_task=dict, **overrides) -> CompletionTrainer:
    """A Trainer of an adapter as the scripts make it; ``predictor_model`` is what predicts there."""
    arguments = arguments or lora_args(folder)
    tokenizer, appended = add_separators(load_tokenizer(arguments, load_config(arguments)), TASK.separators)
    encoder = Encoder(tokenizer, 128, 16)
    model = load_model(arguments, tokenizer, appended)
    settings = {
        "output_dir": str(output_dir), "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2, "max_steps": 4,
        "learning_rate": 3e-2, "eval_strategy": "no", "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "logging_strategy": "no",
    }  # fmt: skip
    rows = Dataset.from_list(encoder.training_rows([TASK.format(row) for row in ROWS]))
    config = RunConfig(
        TASK.name, 1, folder, "document <summarize> summary <eos>",
        {str(s): encoder.separator_id(s) for s in TASK.separators}, {}, 128, 16,
    )  # fmt: skip
    trainer = CompletionTrainer(
        model=add_adapter(model, arguments, tokenizer, TASK.separators),
        args=TrainingArguments(**(settings | overrides)), train_dataset=rows, eval_dataset=rows,
        data_collator=CompletionCollator(tokenizer), processing_class=tokenizer, run_config=config,
        evaluator=SimpleNamespace(score=score_task),
        merge_adapter=arguments.merge_adapter,
    )  # fmt: skip
    trainer.predictor_model = model
    return trainer


def logits(model, trainer: CompletionTrainer) -> torch.Tensor:
    """[tokens, vocabulary] of a training row, separator included."""
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([trainer.train_dataset[2]["input_ids"]])).logits[0]


def adapter_weights(trainer: CompletionTrainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters() if weight.requires_grad}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys() and found
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.fixture(params=["kogpt2", "llama"])
def base_folder(request) -> str:
    """A tied head and free slots, or a head of its own and an embedding that grows."""
    return request.getfixturevalue(f"{request.param}_folder")


# What is trained


@pytest.mark.parametrize("layout", LAYERS)
def test_every_linear_layer_but_the_head_gets_an_adapter(request, layout, tmp_path):
    trainer = make(request.getfixturevalue(f"{layout}_folder"), tmp_path)
    adapted = {name.rpartition(".lora_")[0].rpartition(".")[2] for name in adapter_weights(trainer) if ".lora_" in name}
    assert adapted == LAYERS[layout]


def test_only_the_adapter_and_the_rows_of_the_separators_change(any_folder, tmp_path):
    trainer = make(any_folder, tmp_path)
    base = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.model.merge_adapter = lambda: None  # to see it beside its base
    trainer.train()
    changed = {name for name, weight in trainer.model.state_dict().items() if not torch.equal(weight, base[name])}
    every = trainer.model.named_parameters(remove_duplicate=False)  # a tied head has the rows of the embedding
    assert changed == {name for name, weight in every if weight.requires_grad}
    assert all("lora_" in name or "trainable_tokens_delta" in name for name in changed)
    # Merged, these rows of the embedding are others, and no more.
    del trainer.model.merge_adapter
    trainer.model.merge_adapter()
    embedding = trainer.predictor_model.get_input_embeddings()
    before = next(weight for name, weight in base.items() if name.endswith("token_adapter.base_layer.weight"))
    ids = trainer.processing_class.convert_tokens_to_ids([str(s) for s in TASK.separators])
    assert (before != embedding.weight).any(dim=1).nonzero()[:, 0].tolist() == ids


def test_before_training_nothing_has_changed(any_folder, tmp_path):
    trainer = make(any_folder, tmp_path)
    arguments = lora_args(any_folder)
    tokenizer, appended = add_separators(load_tokenizer(arguments, load_config(arguments)), TASK.separators)
    plain = load_model(arguments, tokenizer, appended)
    torch.testing.assert_close(logits(trainer.predictor_model, trainer), logits(plain, trainer), atol=1e-6, rtol=0)


def test_training_lowers_the_loss(base_folder, tmp_path):
    trainer = make(base_folder, tmp_path, max_steps=8)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.1


def test_the_engine_learns_what_the_plain_trainer_learns(any_folder, tmp_path):
    torch.manual_seed(0)
    fast = make(any_folder, tmp_path / "fast", max_steps=3)
    torch.manual_seed(0)
    plain = make(any_folder, tmp_path / "plain", max_steps=3, labelled_head=False, fused_gelu=False)
    assert fast.train().training_loss == pytest.approx(plain.train().training_loss, abs=1e-5)
    for name, weight in adapter_weights(plain).items():
        torch.testing.assert_close(adapter_weights(fast)[name], weight, atol=1e-4, rtol=0)
    assert fast.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], abs=1e-5)


@pytest.mark.parametrize("flag", ["activation_checkpointing", "padding_free"])
def test_what_saves_memory_learns_the_same(base_folder, tmp_path, flag):
    # Plain gradient descent: Adam's first step has the size of the learning rate whatever the gradient is.
    descent = {"max_steps": 1, "optim": "sgd", "learning_rate": 0.5, "warmup_steps": 0, "max_grad_norm": 0}
    learned = []
    for value in (False, True):
        torch.manual_seed(0)
        trainer = make(base_folder, tmp_path / str(value), **descent, **{flag: value})
        before = adapter_weights(trainer)
        trainer.train()
        learned.append(adapter_weights(trainer))
    assert all((learned[0][name] != weight).any() for name, weight in before.items() if "lora_A" not in name)
    for name, weight in learned[0].items():
        torch.testing.assert_close(learned[1][name], weight, atol=1e-6, rtol=1e-4)


# Saving and loading


@pytest.fixture(scope="module", params=["kogpt2", "gpt2", "llama", "neox"])
def trained(request, tmp_path_factory) -> tuple[CompletionTrainer, Path]:
    """A Trainer of each layout after three steps, and what it left."""
    folder = tmp_path_factory.mktemp("adapters") / request.param
    base = request.getfixturevalue(f"{request.param}_folder")
    trainer = make(base, folder, max_steps=3, save_strategy="steps", save_steps=3)
    trainer.train()
    trainer.save_model()
    return trainer, folder


def test_the_folder_loads_as_the_model_that_was_trained(trained):
    trainer, run = trained
    assert trainer.model.get_model_status().merged_adapters == ["default"]  # as loaded, so is it measured
    expected = logits(trainer.predictor_model, trainer)
    for folder in (run, run / "checkpoint-3"):
        names = {path.name for path in folder.iterdir() if not path.name.startswith("checkpoint")}
        assert names >= {
            "adapter_config.json", "adapter_model.safetensors", "generation_config.json", "task.json", "tokenizer.json",
        }  # fmt: skip
        assert not names & {"config.json", "model.safetensors", "README.md", "training_args.bin"}
        arguments = model_args(str(folder))
        tokenizer = load_tokenizer(arguments, load_config(arguments))
        assert tokenizer.get_vocab() == trainer.processing_class.get_vocab()
        again = load_model(arguments, tokenizer)
        torch.testing.assert_close(logits(again, trainer), expected, atol=1e-6, rtol=0)
        assert not any("lora" in name for name, _ in again.named_parameters())  # merged: as fast as the base


def test_stock_peft_and_transformers_load_the_folder(trained):
    trainer, run = trained
    stock = AutoPeftModelForCausalLM.from_pretrained(run, dtype=torch.float32)
    torch.testing.assert_close(logits(stock, trainer), logits(trainer.predictor_model, trainer), atol=1e-5, rtol=1e-5)
    config = json.loads((run / "tokenizer_config.json").read_text("utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    text = "민준이는 책을 빌렸다.<summarize>"
    assert AutoTokenizer.from_pretrained(run)(text).input_ids == trainer.processing_class(text).input_ids


def test_the_adapter_is_small_whether_or_not_the_embedding_has_grown(trained):
    weights = load_file(trained[1] / "adapter_model.safetensors")
    assert {weight.shape[0] for name, weight in weights.items() if "lora" not in name} == {len(TASK.separators)}


@pytest.mark.parametrize("layout", ["gpt2", "neox"])
def test_a_merged_folder_is_a_plain_model(request, layout, tmp_path):
    folder = request.getfixturevalue(f"{layout}_folder")
    torch.manual_seed(0)
    adapter = make(folder, tmp_path / "adapter", max_steps=3)
    adapter.train()
    torch.manual_seed(0)
    trainer = make(folder, tmp_path / "merged", lora_args(folder, merge_adapter=True), max_steps=3)
    trainer.train()
    trainer.save_model()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(adapter.evaluate()["eval_loss"], abs=1e-6)
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert names >= {"config.json", "model.safetensors"} and not {name for name in names if "adapter" in name}
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    assert not any("lora" in name for name in plain.state_dict())
    expected = logits(adapter.predictor_model, adapter)
    torch.testing.assert_close(logits(plain, trainer), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(logits(trainer.predictor_model, trainer), expected, atol=1e-6, rtol=0)


def test_a_folder_holds_an_adapter_or_a_whole_model(kogpt2_folder, tmp_path):
    whole, part = {"config.json", "model.safetensors"}, {"adapter_config.json", "adapter_model.safetensors"}
    for merge, there, gone in ((True, whole, part), (False, part, whole), (True, whole, part)):
        trainer = make(kogpt2_folder, tmp_path / "run", lora_args(kogpt2_folder, merge_adapter=merge), max_steps=1)
        trainer.train()
        trainer.save_model()
        names = {path.name for path in (tmp_path / "run").iterdir()}
        assert names >= there and not names & gone


# Resuming and the best model


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(base_folder, tmp_path):
    common = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    arguments = lora_args(base_folder, lora_dropout=0.1)  # the random state has to come back, too
    whole = make(base_folder, tmp_path, arguments, **common)
    whole.train()
    resumed = make(base_folder, tmp_path / "other", arguments, **common)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            if parameter.requires_grad:
                parameter.fill_(0.123)
    torch.rand(7)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 6
    assert_same(adapter_weights(resumed), adapter_weights(whole))


def test_the_best_adapter_is_restored(base_folder, tmp_path):
    scores = iter([0.1, 0.9, 0.2])
    trainer = make(
        base_folder, tmp_path, score_task=lambda: {"rougeL": next(scores)}, max_steps=3, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, save_total_limit=None, metric_for_best_model="rougeL", greater_is_better=True,
    )  # fmt: skip
    trainer.train()
    saved = [load_file(tmp_path / f"checkpoint-{step}" / "adapter_model.safetensors") for step in (2, 3)]
    found = {name.replace(".default", ""): weight for name, weight in adapter_weights(trainer).items()}
    assert_same(found, saved[0])
    assert any(not torch.equal(saved[1][name], weight) for name, weight in found.items())
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("keep", [0, 100, -1000])
def test_a_damaged_checkpoint_is_an_error(kogpt2_folder, tmp_path, keep):
    make(kogpt2_folder, tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    path = tmp_path / "checkpoint-1" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="checkpoint-1: the checkpoint cannot be read"):
        make(kogpt2_folder, tmp_path, max_steps=2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_checkpoint_of_another_rank_is_an_error(kogpt2_folder, tmp_path):
    make(kogpt2_folder, tmp_path, max_steps=1, save_strategy="steps", save_steps=1).train()
    trainer = make(kogpt2_folder, tmp_path, lora_args(kogpt2_folder, lora_r=2), max_steps=2)
    with pytest.raises(UserError, match=r"checkpoint-1 is a checkpoint of another model .*; resume with the --lora_r"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


# What is refused


@pytest.fixture(scope="module")
def adapter_folder(kogpt2_folder, tmp_path_factory) -> Path:
    """An adapter of a copy of KoGPT2's layout that a test may take away."""
    folder = tmp_path_factory.mktemp("adapters")
    base = shutil.copytree(kogpt2_folder, folder / "base")
    trainer = make(str(base), folder / "run", max_steps=1)
    trainer.train()
    trainer.save_model()
    return folder / "run"


@pytest.fixture
def spoiled(adapter_folder, tmp_path) -> Path:
    return Path(shutil.copytree(adapter_folder, tmp_path / "run"))


def edit(folder: Path, **values) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def load(folder: Path):
    arguments = model_args(str(folder))
    return load_model(arguments, load_tokenizer(arguments, load_config(arguments)))


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load(folder)
    return str(caught.value)


def test_the_base_is_written_down_by_its_whole_path(adapter_folder):
    config = json.loads((adapter_folder / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == str(adapter_folder.parent / "base")
    assert (config["r"], config["lora_alpha"], config["fan_in_fan_out"]) == (4, 8, True)
    assert config["task_type"] == "CAUSAL_LM" and config["inference_mode"] is True


def test_a_base_that_is_gone_is_named(spoiled):
    edit(spoiled, base_model_name_or_path="/no/such/base")
    assert refused(spoiled) == (
        f"{spoiled} is an adapter, and its base /no/such/base is needed too: --model /no/such/base: no such folder; check "
        "the path (base_model_name_or_path in its adapter_config.json may be changed)"
    )


def test_a_base_on_the_hub_that_cannot_be_reached_is_named(spoiled):
    edit(spoiled, base_model_name_or_path="me/nowhere")
    assert "its base me/nowhere is needed too: me/nowhere: no such folder here, and the Hub cannot be" in refused(spoiled)


def test_another_base_is_told(spoiled, llama_folder, tmp_path, kogpt2_folder):
    edit(spoiled, base_model_name_or_path=llama_folder)
    assert "run: the adapter was made for another model than" in refused(spoiled)
    wider = tmp_path / "wider"
    shutil.copytree(kogpt2_folder, wider)
    config = AutoModelForCausalLM.from_pretrained(kogpt2_folder).config
    config.n_embd = 64
    AutoModelForCausalLM.from_config(config).save_pretrained(wider)
    edit(spoiled, base_model_name_or_path=str(wider))
    assert "run: the adapter was made for another model than" in refused(spoiled)


def test_weights_that_are_missing_or_too_many_are_told(spoiled):
    path = spoiled / "adapter_model.safetensors"
    weights = load_file(path)
    name = min(weights)
    save_file({key: weight for key, weight in weights.items() if key != name}, path)
    assert f"1 of its weights are not there ({name})" in refused(spoiled)
    save_file(weights | {"base_model.model.nowhere.lora_A.weight": torch.zeros(4, 32)}, path)
    assert "the model has no place for 1 of its weights" in refused(spoiled)


def test_pickled_weights_are_never_loaded(spoiled):
    (spoiled / "adapter_model.safetensors").rename(spoiled / "adapter_model.bin")
    assert "adapter_model.safetensors is missing; pickled weights (.bin) are never loaded" in refused(spoiled)


@pytest.mark.parametrize("keep", [0, 100, -1000])
def test_a_damaged_adapter_is_told(spoiled, keep):
    path = spoiled / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(spoiled).startswith(f"{spoiled}: the adapter cannot be read (")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "adapter_config.json is damaged"),
        ("[]", "adapter_config.json is damaged"),
        ('{"peft_type": "PROMPT_TUNING"}', "an adapter of the type PROMPT_TUNING; only LoRA is read here"),
        ('{"peft_type": "LORA"}', "adapter_config.json names no base"),
        ('{"peft_type": "LORA", "base_model_name_or_path": ""}', "adapter_config.json names no base"),
    ],
)
def test_a_config_that_cannot_be_used_is_told(spoiled, text, message):
    (spoiled / "adapter_config.json").write_text(text, "utf-8")
    assert refused(spoiled).startswith(f"{spoiled}: {message}")


def test_without_peft_an_adapter_says_what_it_needs(adapter_folder, monkeypatch):
    monkeypatch.setattr("tasks.model.adapters.find_spec", lambda name: None)
    assert refused(adapter_folder) == (
        f"{adapter_folder} is an adapter, which needs PEFT; install it with: pip install -e '.[lora]'"
    )


def test_an_adapter_of_an_adapter_is_refused(adapter_folder, tmp_path):
    with pytest.raises(UserError, match="is an adapter, and a new adapter would need both it and its base; add --merge_a"):
        make(str(adapter_folder), tmp_path)


def test_an_adapter_can_be_trained_on_whole_or_merged(adapter_folder, tmp_path):
    trainer = make(str(adapter_folder), tmp_path / "a", lora_args(adapter_folder, merge_adapter=True), max_steps=1)
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "a" / "model.safetensors").is_file()
    trainer = make(str(adapter_folder), tmp_path / "b", lora_args(adapter_folder, lora_r=None), max_steps=1)
    assert not isinstance(trainer.model, PeftModel)
    trainer.train()


def test_layers_are_chosen_by_name_and_a_wrong_name_is_told(kogpt2_folder, tmp_path):
    trainer = make(kogpt2_folder, tmp_path, lora_args(kogpt2_folder, lora_target_modules="c_attn, mlp.c_proj"))
    adapted = {name.partition(".lora_")[0].partition(".h.0.")[2] for name in adapter_weights(trainer) if ".h.0." in name}
    assert adapted == {"attn.c_attn", "mlp.c_proj"}
    for names, unknown in (("c_attn,q_proj", "q_proj"), ("lm_head", "lm_head")):
        with pytest.raises(UserError, match=f"modules {unknown}: gpt2 has no such layer; it has c_attn, c_fc, c_proj"):
            make(kogpt2_folder, tmp_path, lora_args(kogpt2_folder, lora_target_modules=names))
