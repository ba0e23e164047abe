"""Files that are damaged or meant to harm: each ends in a line, soon, and nothing in them reaches a terminal."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.arguments.publishing import PublishArguments
from tasks.errors import Shown, UserError, shown, user_errors
from tasks.model.adapters import base_arguments
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.publishing.card import render_card
from tasks.publishing.edits import INDEX, SECTION, keep_edits, owner_text, read_front
from tasks.publishing.report import RunReport
from tasks.training.checkpoints import read_manifest
from tasks.training.output_folder import read_run
from tests.conftest import ROOT, model_args, tokenizer_of
from tests.helpers.full_report import full_report
from tests.helpers.fuzz import deadline

DEEP = "[" * 100_000
RUN = {
    "task": "nli", "task_version": 1, "base_model": "b", "prompt_format": "p", "separators": {}, "label_words": {},
    "max_length": 8, "max_new_tokens": 4,
}  # fmt: skip


def refused(call, *arguments) -> str:
    with deadline(30), pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Configs and weights


@pytest.fixture
def changed(kogpt2_folder, tmp_path):
    """``changed(n_layer=3)``: a copy of the model whose config.json says so."""

    def change(**values) -> str:
        folder = tmp_path / "model"
        shutil.copytree(kogpt2_folder, folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(config | values), "utf-8")
        return str(folder)

    return change


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n_layer": 10_000_000}, "num_hidden_layers is 10000000, which no model has"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, which no model has"),
        ({"n_positions": "256"}, "n_positions"),
        ({"n_embd": [32]}, "n_embd"),
        ({"model_type": "\x1b]0;evil\x07"}, "cannot be loaded"),
    ],
)
def test_sizes_that_cannot_be_are_told(changed, values, said):
    assert said in refused(load_config, model_args(changed(**values)))


@pytest.mark.parametrize("text", [DEEP, "{", "[1]", "null", '"x"'])
def test_a_damaged_config_is_told(changed, text):
    folder = changed()
    (Path(folder) / "config.json").write_text(text, "utf-8")
    assert refused(load_config, model_args(folder)).startswith(f"{folder}: ")


def test_weights_that_are_nan_are_told_as_that(changed, kogpt2_folder):
    folder = changed()
    weights = load_file(Path(folder) / "model.safetensors")
    weights["transformer.h.1.ln_1.weight"][3] = float("nan")
    save_file(weights, Path(folder) / "model.safetensors", {"format": "pt"})
    message = refused(load_model, model_args(folder), tokenizer_of(kogpt2_folder))
    assert message == f"{folder}: 1 of its weights hold NaN or infinity (transformer.h.1.ln_1.weight); take another"
    assert all(
        torch.isfinite(w).all() for w in load_model(model_args(kogpt2_folder), tokenizer_of(kogpt2_folder)).parameters()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target_modules", "(a+)+$"), ("target_modules", ".*.*.*.*x"), ("exclude_modules", "(.|.)*y"),
        ("rank_pattern", {"(h|h)*z": 4}), ("alpha_pattern", {".*.*.*.*x": 4}),
    ],
)  # fmt: skip
def test_a_regular_expression_that_may_take_forever_is_refused(tmp_path, name, value):
    config = {"peft_type": "LORA", "base_model_name_or_path": "base", name: value}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert "a regular expression that may take forever" in refused(base_arguments, model_args(str(tmp_path)))


def test_the_regular_expressions_that_adapters_have_are_read(tmp_path):
    for value in (["c_attn"], "all-linear", r".*\.(q_proj|v_proj)$", r"model\.layers\.[0-9]+\.mlp\..*"):
        config = {"peft_type": "LORA", "base_model_name_or_path": "base", "target_modules": value}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        assert base_arguments(model_args(str(tmp_path))).model == "base"


# The folder of a run


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("task.json", DEEP), ("task.json", json.dumps(RUN | {"separators": {"<nli>": "x"}})),
        ("task.json", json.dumps(RUN | {"label_words": {"a": None}})), ("task.json", "[]"),
        ("run_report.json", DEEP), ("run_report.json", '{"base": 3}'), ("run_report.json", '{"base": {"hub_id": 3}}'),
        ("run_report.json", '{"data": {"files": [1]}}'), ("run_report.json", '{"arguments": []}'),
        ("run_report.json", '{"versions": {"torch": 2}}'), ("run_report.json", '{"choices": null}'),
        ("all_results.json", DEEP), ("all_results.json", "[]"), ("trainer_state.json", '{"log_history": [1]}'),
        ("trainer_state.json", '{"log_history": 7}'), ("trainer_state.json", DEEP),
    ],
)  # fmt: skip
def test_a_damaged_file_of_a_run_is_named(tmp_path, name, content):
    (tmp_path / "task.json").write_text(json.dumps(RUN), "utf-8")
    assert RunReport.load(tmp_path).base.name == "b"
    (tmp_path / name).write_text(content, "utf-8")
    assert refused(RunReport.load, tmp_path).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [DEEP, "[]", '{"files": []}', '{"files": {"a": 1}}', '{"files": {"a": {"bytes": "1", "sha256": "x"}}}',
     '{"files": {"a": {"bytes": 1}}}', '{"files": {}, "seconds": "x"}', '{"files": {}, "seconds": null}'],
)  # fmt: skip
def test_a_damaged_seal_is_no_seal(tmp_path, content):
    (tmp_path / "complete.json").write_text(content, "utf-8")
    assert read_manifest(tmp_path) is None
    (tmp_path / "complete.json").write_text('{"files": {"a": {"bytes": 1, "sha256": "x"}}, "seconds": 2.5}', "utf-8")
    assert read_manifest(tmp_path)["seconds"] == 2.5


@pytest.mark.parametrize("content", [DEEP, "[]", '{"task": 1, "settings": {}}', '{"task": "nli", "settings": null}'])
def test_a_damaged_run_json_is_none_of_ours(tmp_path, content):
    (tmp_path / "run.json").write_text(content, "utf-8")
    assert read_run(tmp_path) == {}


def test_a_name_that_is_too_long_is_told(capsys):
    with pytest.raises(SystemExit) as left, user_errors():
        Path("x" * 400).stat()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: {'x' * 60}...: a name of 400 characters; give a shorter one\n"


# Cards


@pytest.mark.parametrize("results", [{"counts": 3}, {"rows": 3, "accuracy": 0.5, "intervals": [1]}])
def test_figures_of_another_type_are_told(tmp_path, results):
    report = dataclasses.replace(full_report("nli"), results=results)
    assert "are damaged" in refused(render_card, report, tmp_path, PublishArguments())


def test_a_template_without_front_matter_makes_a_card(tmp_path):
    (tmp_path / "bare.md").write_text("# {{ name }}\n", "utf-8")
    own = PublishArguments(card_template=str(tmp_path / "bare.md"))
    bare = render_card(full_report("nli"), tmp_path, own, "me/x")
    assert bare == "# x\n"
    whole = render_card(full_report("nli"), tmp_path, PublishArguments(), "me/x")
    assert keep_edits(whole, bare).startswith("---\n") and keep_edits(bare, bare).endswith("# x\n")


@pytest.mark.parametrize(
    "mark",
    ["<!-- generated:x -->\n", "<!-- generated:x ", "<!-- generated:xxxxxxxxx", "<!-- /generated:x -->",
     "<!-- model card sections: a, b;", "<!-- model card sections: ", "---\n", "<!-- generated:x -->" + "\t" * 50],
)  # fmt: skip
def test_300_kilobytes_of_markers_are_read_at_once(mark):
    card = mark * (300_000 // len(mark))
    with deadline(20):
        assert not list(SECTION.finditer(card)) and (INDEX.search(card), owner_text(card)) is not None
        keep_edits(card, "---\nlicense: mit\n---\n<!-- generated:a -->\nA\n<!-- /generated:a -->\n")


def test_a_bomb_of_merges_in_a_card_is_not_expanded():
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = [f"{names[0]}: &{names[0]} {{k: v}}"]
    lines += [f"{new}: &{new}\n  <<: [{', '.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise(names)]
    with deadline(10):
        assert read_front("---\n" + "\n".join(lines) + "\n---\n") == {}
    assert read_front("---\nlicense: mit\nlicense: apache-2.0\n---\n") == {"license": "apache-2.0"}


# Terminals


def test_what_moves_a_terminal_is_shown_and_what_people_write_stays():
    assert shown("\x1b[31m빨강\x07 \x9b2J \u202eabc\tㅋㅋ😂\n") == "\\u001b[31m빨강\\u0007 \\u009b2J \\u202eabc\tㅋㅋ😂\n"
    inner = io.StringIO()
    stream = Shown(inner)
    print("\x1b[2J", file=stream)
    stream.writelines(["a\x00b\n"])
    assert inner.getvalue() == "\\u001b[2J\na\\u0000b\n"
    assert json.loads(shown(json.dumps({"a": "\x9b\u202e\x1b"}, ensure_ascii=False))) == {"a": "\x9b\u202e\x1b"}


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", b"?? ok\n"), ("utf-8", "한글 ok\n".encode())])
def test_a_console_without_hangul_shows_the_rest(encoding, expected):
    program = (
        "from tasks.errors import handle_errors\nhandle_errors('__main__')\nprint('\\ud55c\\uae00 ok')\n"
        "from tasks.errors import UserError\nraise UserError('\\x1b[31m no file')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, expected, b"error: \\u001b[31m no file\n")


def test_a_file_holds_all_of_it_whatever_the_console_has(tmp_path):
    program = "from tasks.errors import handle_errors\nhandle_errors('__main__')\nprint('\\ud55c\\uae00')\n"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    with open(tmp_path / "out.txt", "wb") as file:
        subprocess.run([sys.executable, "-c", program], env=environment, stdout=file, check=True)
    assert (tmp_path / "out.txt").read_text("utf-8") == "한글\n"
