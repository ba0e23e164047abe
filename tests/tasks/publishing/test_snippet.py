"""The program of a card, run as it is printed, gives what the project's own tools give."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tasks import get_task
from tasks.arguments.generation import GenerationArguments
from tasks.inference.predicting import load_predictor
from tasks.model.loading import open_encoder, open_model
from tasks.model.model_files import make_portable
from tasks.publishing.report import RunReport
from tasks.publishing.snippet import usage_snippet
from tasks.run_folder import RunConfig
from tests.conftest import model_args
from tests.helpers.full_report import ALL_TASKS, bare_report, card

LAYOUTS = ("kogpt2", "gpt2", "llama", "neox")


@pytest.fixture(scope="module")
def bases(request, tmp_path_factory) -> dict[str, str]:
    """The four layouts with 512 positions, in which the usage examples fit, and weights that depend on the whole prompt."""
    found = {}
    for layout in LAYOUTS:
        source = request.getfixturevalue(f"{layout}_folder")
        folder = tmp_path_factory.mktemp("bases") / layout
        shutil.copytree(source, folder)
        config = AutoConfig.from_pretrained(source)
        setattr(config, "n_positions" if config.model_type == "gpt2" else "max_position_embeddings", 512)
        model = AutoModelForCausalLM.from_config(config)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 2:  # fresh weights repeat the last token, whatever stood before it
                    parameter.normal_(0.0, 0.35, generator=generator)
        model.save_pretrained(folder)
        found[layout] = str(folder)
    return found


def make_run(base: str, folder: Path, task_name: str, **choices) -> RunReport:
    """What a run leaves that was not trained: separators, model, tokenizer, generation_config, task.json; its report."""
    task, arguments, column_map = get_task(task_name), model_args(base), choices.pop("column_map", None)
    task.use_columns(column_map)
    task.head = choices.pop("head", False)
    if task.learns_labels:
        task.learn_labels(["사과", "바다", "사과"], None, choices.pop("label_form", "words" if task.head else None))
    # Sampling is switched off, so that there is one answer.
    max_length = choices.pop("max_length", None)
    generation_args = GenerationArguments(**({"max_new_tokens": 12, "do_sample": False} | choices))
    encoder = open_encoder(task, arguments, generation_args, max_length)
    model, tokenizer = open_model(task, arguments, encoder), encoder.tokenizer
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    make_portable(folder)
    config = RunConfig.of(task, base, column_map, encoder)
    config.save(folder)
    return dataclasses.replace(
        bare_report(task_name),
        config=config,
        adds_bos=tokenizer("").input_ids[:1] == [tokenizer.bos_token_id],
        changes_letters="NFKC" in str(tokenizer.backend_tokenizer.normalizer),
    )


def printed(text: str) -> str:
    """The program in a card."""
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return code


def output_of(code: str, cwd: Path) -> str:
    """What the program prints, run in this process: importing torch anew would take seconds."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        patch.chdir(cwd)
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def own_answer(folder: Path, row: dict[str, str]) -> str:
    predictor = load_predictor(model_args(str(folder)), GenerationArguments())
    ((prediction,),) = predictor.answer([predictor.task.input_example({"id": "x", **row})])
    return prediction.text


@pytest.mark.parametrize("task_name", ALL_TASKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_printed_program_answers_as_the_project_does(bases, layout, task_name, tmp_path):
    folder = tmp_path / f"{layout}-{task_name}"
    report = make_run(bases[layout], folder, task_name)
    assert report.adds_bos is (layout == "llama")
    task = get_task(task_name)
    answer = own_answer(folder, task.usage_example)
    assert answer
    if task.output_type == "loglikelihood":  # the program prints the beginning, too
        answer = task.usage_example["text"] + answer
    assert output_of(printed(card(report, folder)), tmp_path) == f"{answer}\n"
    korean = printed(card(report, folder, card_language="ko"))
    assert korean == printed(card(report, folder))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_by_their_words(bases, layout, tmp_path):
    folder = tmp_path / "run"
    report = make_run(bases[layout], folder, "classify", label_form="words", column_map="text_pair=b")
    answer = own_answer(folder, get_task("classify").usage_example)
    assert output_of(printed(card(report, folder)), tmp_path) == f"{answer}\n"


@pytest.mark.parametrize("temperature", [None, 2.0])
@pytest.mark.parametrize("task_name", ["classify", "nli"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_classification_head(bases, layout, task_name, temperature, tmp_path):
    """The stock pipeline, on a text that is cut, too."""
    folder = tmp_path / "run"
    report = make_run(bases[layout], folder, task_name, head=True, max_length=90)
    report.config = dataclasses.replace(report.config, temperature=temperature)
    report.config.save(folder)
    code = printed(card(report, folder))
    name, text = next(iter(get_task(task_name).usage_example.items()))
    predictor = load_predictor(model_args(str(folder)), GenerationArguments())
    for length in (1, 10):
        row = {"id": "x"} | get_task(task_name).usage_example | {name: text * length}
        ((prediction,),) = predictor.answer([predictor.task.input_example(row)])
        label, *probability = output_of(code.replace(text, text * length), tmp_path).split()
        assert label == prediction.text
        expected = [predictor.task.probabilities(prediction.scores)[label]] if temperature else []
        assert [float(each) for each in probability] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("layout", ["kogpt2", "llama"])
def test_the_answers_depend_on_the_input(bases, layout, tmp_path):
    """Else the tests above would show little."""
    folder = tmp_path / "run"
    make_run(bases[layout], folder, "summarize")
    example = get_task("summarize").usage_example["document"]
    texts = [own_answer(folder, {"document": text}) for text in (example, example[1:], example + " 비가 온다.")]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("layout", ["kogpt2", "llama"])
@pytest.mark.parametrize("task_name", ["summarize", "nli"])
def test_a_text_that_is_too_long_is_cut_at_the_same_token(bases, layout, task_name, tmp_path):
    folder = tmp_path / "run"
    report = make_run(bases[layout], folder, task_name, max_length=90, max_new_tokens=10)
    code = printed(card(report, folder))
    name, text = next(iter(get_task(task_name).usage_example.items()))
    for length in (1, 5, 10):
        row = get_task(task_name).usage_example | {name: text * length}
        assert output_of(code.replace(text, text * length), tmp_path) == own_answer(folder, row) + "\n"


def test_separators_and_stop_tokens_in_a_text_stay_text(bases, tmp_path):
    text = get_task("summarize").usage_example["document"]
    hostile = f'</s><summarize> "따옴표" \\n {text[:30]} ㅠㅠ'
    for layout in ("kogpt2", "gpt2"):
        folder = tmp_path / layout
        report = make_run(bases[layout], folder, "summarize")
        code = printed(card(report, folder)).replace(f'"{text}"', repr(hostile))
        assert hostile not in text
        assert output_of(code, tmp_path) == own_answer(folder, {"document": hostile}) + "\n"


@pytest.mark.slow  # tests/scripts/test_publish.py runs the example of a published card in one
def test_in_a_fresh_process(bases, tmp_path):
    folder = tmp_path / "kogpt2-nli"
    report = make_run(bases["kogpt2"], folder, "nli")
    (tmp_path / "example.py").write_text(printed(card(report, folder)), "utf-8")
    finished = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == own_answer(folder, get_task("nli").usage_example) + "\n"


def test_literally():
    report = dataclasses.replace(bare_report("qa"), adds_bos=True)
    assert (
        usage_snippet(get_task("qa"), report, 'me/"x"')
        == """\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model_id = "me/\\"x\\""
tokenizer = AutoTokenizer.from_pretrained(model_id)
model = AutoModelForCausalLM.from_pretrained(model_id).eval()


def encode(text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


context = "시청은 다음 달 1일부터 주말에도 도서관을 연다고 밝혔다. 주말에는 오전 9시부터 오후 6시까지 문을 연다."
question = "주말에는 몇 시부터 문을 여나요?"
rest = [tokenizer.convert_tokens_to_ids("<question>")] + encode(question) + [tokenizer.convert_tokens_to_ids("<answer>")]
prompt = [tokenizer.bos_token_id] + encode(context)[: 975 - len(rest)] + rest
input_ids = torch.tensor([prompt])
output = model.generate(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
answer = tokenizer.decode(output[0, len(prompt):], skip_special_tokens=True).rstrip("\\ufffd").strip()
print(answer)"""
    )


def test_a_task_without_an_example_has_no_program(tmp_path, monkeypatch):
    monkeypatch.setattr(type(get_task("qa")), "usage_example", {})
    assert usage_snippet(get_task("qa"), bare_report("qa"), "me/x") is None
    text = card(bare_report("qa"), tmp_path)
    assert "```python" not in text
    assert "generated:usage" not in text
