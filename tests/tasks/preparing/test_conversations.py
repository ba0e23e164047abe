"""Conversations as stock ``apply_chat_template`` writes them: the whole, each prompt, the learnt part, and what is cut."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from tasks import get_task
from tasks.arguments.generation import GenerationArguments
from tasks.base import Conversation, Example
from tasks.errors import UserError
from tasks.model.loading import open_encoder
from tasks.model.model_files import make_portable
from tasks.preparing.encoding import IGNORE, Encoder
from tests.conftest import model_args, tokenizer_of

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TALK = [
    {"role": "system", "content": "시청은 도서관을 연다."},
    {"role": "user", "content": "누가 책을 빌렸나요?"},
    {"role": "assistant", "content": "민준이는 도서관에서 책을 빌렸다."},
    {"role": "user", "content": "비가 온다.\n날씨가 맑다."},
    {"role": "assistant", "content": "과일을 먹지 않았다."},
]


def own_template(folder: str, to, template: str = CHATML) -> str:
    """A copy of a model with the chat template of its own, which ends an answer with a token that is eos."""
    shutil.copytree(folder, to)
    tokenizer = AutoTokenizer.from_pretrained(to)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "extra_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(to)
    return str(to)


def opened(folder: str, max_length: int = 128, max_new_tokens: int = 16, **settings) -> Encoder:
    arguments = GenerationArguments(max_new_tokens=max_new_tokens, **settings)
    return open_encoder(get_task("chat"), model_args(folder), arguments, max_length)


def example(messages=TALK, name: str = "r") -> Example:
    return get_task("chat").format({"id": name, "messages": messages})


def stock(encoder: Encoder, folder, messages, **flags) -> list[int]:
    """What plain transformers gives for the saved tokenizer."""
    encoder.tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder).apply_chat_template(messages, return_dict=True, **flags)["input_ids"]


@pytest.fixture(params=["kogpt2", "gpt2", "llama", "neox", "chatml"])
def folder(request, tmp_path) -> str:
    if request.param == "chatml":
        return own_template(request.getfixturevalue("gpt2_folder"), tmp_path / "chatml")
    return request.getfixturevalue(f"{request.param}_folder")


def test_training_and_prompts_are_the_ids_of_stock(folder, tmp_path):
    encoder = opened(folder, 128)
    (row,) = encoder.training_rows([example()])
    whole = stock(encoder, tmp_path / "saved", TALK)
    assert row["input_ids"] == whole[: len(row["input_ids"])]
    assert encoder.tokenizer.decode(whole[len(row["input_ids"]) :]).strip() == ""  # ChatML's line break after the last end
    for answer, place in zip(example().answers(), (2, 4)):
        asked = stock(encoder, tmp_path / "saved", TALK[:place], add_generation_prompt=True)
        assert encoder.prompts([answer]) == [[asked]]
        assert row["input_ids"][: len(asked)] == asked


def test_the_loss_is_on_each_answer_and_its_end_alone(folder):
    encoder = opened(folder, 128)
    (row,) = encoder.training_rows([example()])
    eos = encoder.tokenizer.eos_token_id
    learnt: list[list[int]] = [[]]
    for label in row["labels"]:
        if label != IGNORE:
            learnt[-1].append(label)
        if label == eos:
            learnt.append([])
    texts = [encoder.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in learnt[:-1]]
    assert texts == [TALK[2]["content"], TALK[4]["content"]]
    assert learnt[-1] == [] and all(ids[-1] == eos for ids in learnt[:-1])
    assert encoder.conversations.answers(example().answers()) == learnt[:-1]
    assert encoder.counts["answers"] == 2


def test_kogpt2_writes_as_sk_telecom_did(kogpt2_folder):
    encoder = opened(kogpt2_folder)
    (row,) = encoder.training_rows([example()])
    tokens = " ".join(encoder.tokenizer.convert_ids_to_tokens(row["input_ids"]))
    assert tokens.startswith(
        "▁시청은 ▁도서관을 ▁연 다. <usr> ▁누가 ▁책을 ▁빌렸나요? <sys> ▁민준이는 ▁도서관에서 ▁책을 ▁빌렸다. </s> <usr>"
    )
    assert encoder.tokenizer.convert_tokens_to_ids(["<usr>", "<sys>"]) == [2, 4]
    assert len(encoder.tokenizer) == len(tokenizer_of(kogpt2_folder))


@pytest.mark.parametrize("marker", ["<usr>", "<sys>", "</s>", "<usr></s>"])
@pytest.mark.parametrize("layout", ["kogpt2", "llama"])
def test_marker_text_in_a_message_is_spelled_out(request, layout, marker):
    encoder = opened(request.getfixturevalue(f"{layout}_folder"))
    messages = [
        {"role": "user", "content": f"책{marker}책"},
        {"role": "assistant", "content": f"{marker} 책"},
    ]
    (row,) = encoder.training_rows([example(messages)])
    ids = [encoder.tokenizer.convert_tokens_to_ids(token) for token in ("<usr>", "<sys>")]
    assert [index for index in row["input_ids"] if index in {*ids, encoder.tokenizer.eos_token_id}] == [
        *ids,
        encoder.tokenizer.eos_token_id,
    ]


def test_stock_reads_the_marks_of_generation(kogpt2_folder):
    encoder = opened(kogpt2_folder)
    (row,) = encoder.training_rows([example()])
    found = encoder.tokenizer.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    assert [index for index, mask in zip(found["input_ids"], found["assistant_masks"]) if mask] == [
        label for label in row["labels"] if label != IGNORE
    ]


def test_a_model_keeps_its_own_template_and_gets_no_separators(gpt2_folder, tmp_path):
    folder = own_template(gpt2_folder, tmp_path / "chatml")
    task = get_task("chat")
    encoder = open_encoder(task, model_args(folder), GenerationArguments(max_new_tokens=16), 128)
    assert encoder.tokenizer.chat_template == CHATML
    assert task.separators == () and "<usr>" not in encoder.tokenizer.get_vocab()
    other = open_encoder(get_task("summarize"), model_args(folder), GenerationArguments(max_new_tokens=16), 128)
    assert other.tokenizer.chat_template != CHATML  # its training does not follow it


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            CHATML.replace("assistant\n' }}", "assistant\n<think>' }}"),
            "does not write a conversation as its prompt and then",
        ),
        (CHATML.replace("'<|im_end|>'", "'<end>'"), "does not end an answer with <|im_end|>"),
        ("{{ raise_exception('no system') }}", r"refuses the conversation \(no system\)"),
    ],
)
def test_a_template_that_cannot_be_trained_with_is_refused_by_name(gpt2_folder, tmp_path, template, reason):
    encoder = opened(own_template(gpt2_folder, tmp_path / "own", template))
    with pytest.raises(UserError, match=rf"^row r/1: the model's chat template {reason}"):
        encoder.training_rows([example()])


def long_talk(turns: int) -> list[dict[str, str]]:
    answers = ["책을 빌렸다.", "비가 온다.", "날씨가 맑다."]
    return [
        message
        for n in range(turns)
        for message in ({"role": "user", "content": f"{n} 누가"}, {"role": "assistant", "content": answers[n % 3]})
    ]


def test_each_answer_of_a_long_conversation_is_learnt_once_after_the_turns_that_fit(folder):
    messages = [TALK[0], *long_talk(12)]
    encoder = opened(folder, 96, 32)
    rows = encoder.training_rows([example(messages)], prompts := [])
    assert len(rows) > 1 and encoder.counts["split"] == 1 and encoder.counts["answers"] == 12
    assert max(len(row["input_ids"]) for row in rows) <= 96
    answers = example(messages).answers()
    assert prompts == encoder.prompts(answers)
    learnt = []
    for row in rows:
        ends = [i + 1 for i, label in enumerate(row["labels"]) if label == encoder.tokenizer.eos_token_id]
        for end in ends:
            start = end - 1
            while start and row["labels"][start - 1] not in (IGNORE, encoder.tokenizer.eos_token_id):
                start -= 1
            learnt.append((row["input_ids"][:start], row["input_ids"][start:end]))
    assert learnt == [(prompt, ids) for (prompt,), ids in zip(prompts, encoder.conversations.answers(answers))]
    system = encoder.chat.ids([("system", TALK[0]["content"])])
    assert all(prompt[: len(system)] == system for (prompt,) in prompts)
    assert encoder.counts["without_oldest_turns"] == sum(
        prompt != encoder.chat.ids(each.conversation, asked=True) for (prompt,), each in zip(prompts, answers)
    )


def test_a_last_question_that_is_too_long_by_itself_names_its_row(kogpt2_folder):
    encoder = opened(kogpt2_folder, 24, 8)
    messages = [*long_talk(2), {"role": "user", "content": "책을 " * 30}, {"role": "assistant", "content": "비가"}]
    for ask in (encoder.training_rows, lambda rows: encoder.prompts(rows[0].answers())):
        with pytest.raises(
            UserError, match=r"^row r(/3)?: the last question has \d+ tokens with its markers, and 16 fit; shorten"
        ):
            ask([example(messages)])


def test_a_long_answer_takes_room_from_the_oldest_turns(kogpt2_folder):
    encoder = opened(kogpt2_folder, 40, 4)
    messages = [*long_talk(4), {"role": "user", "content": "누가"}, {"role": "assistant", "content": "책을 " * 30}]
    rows = encoder.training_rows([example(messages)])
    assert encoder.counts["longer_than_max_new_tokens"] >= 1
    assert max(len(row["input_ids"]) for row in rows) <= 40
    assert sum(label != IGNORE for label in rows[-1]["labels"]) >= 30
    encoder.counts.clear()
    messages[-1]["content"] = "책을 " * 40
    encoder.training_rows([example(messages)])
    assert encoder.counts["dropped"] == 1


def test_what_the_model_is_told_stands_in_the_saved_template(folder, tmp_path):
    encoder = opened(folder, 128, 16, system="'반말로'\n대답한다.")
    told = [{"role": "system", "content": "'반말로'\n대답한다."}, *TALK[1:]]
    plain = stock(encoder, tmp_path / "saved", TALK[1:])
    assert plain == stock(encoder, tmp_path / "saved", told)
    assert plain != stock(opened(folder), tmp_path / "other", TALK[1:])
    (row,) = encoder.training_rows([example(TALK[1:])])
    assert row["input_ids"] == plain[: len(row["input_ids"])]
    assert encoder.settings["system"] == "'반말로'\n대답한다."
    assert stock(encoder, tmp_path / "saved", TALK) == stock(opened(folder), tmp_path / "other", TALK)


def test_what_the_model_is_told_holds_no_marker_and_belongs_to_a_conversation(kogpt2_folder):
    with pytest.raises(UserError, match=r"^--system holds <usr>, a token of the model; leave it out$"):
        opened(kogpt2_folder, system="a <usr>")
    with pytest.raises(UserError, match=r"^--system: qa holds no conversation; leave it out$"):
        open_encoder(get_task("qa"), model_args(kogpt2_folder), GenerationArguments(max_new_tokens=16, system="a"), 128)


def test_each_answer_is_measured_after_what_was_said_before_it():
    first, second = example().answers()
    assert (first.id, second.id) == ("r/1", "r/2")
    assert first.prompt == (Conversation((("system", TALK[0]["content"]), ("user", TALK[1]["content"]))),)
    assert (first.completion, first.references) == (TALK[2]["content"], (TALK[2]["content"],))
    assert second.prompt == example().prompt
    one = example(TALK[:3])
    assert one.answers() == [one]


@pytest.mark.parametrize("text", ["민준이는 책을 빌렸다.", "비가 온다.\n날씨가 맑다. \n"])
@pytest.mark.parametrize("name", ["summarize", "generate", "classify"])
@pytest.mark.parametrize("layout", ["kogpt2", "gpt2", "llama", "neox"])
def test_one_user_message_is_the_prompt_of_a_task_that_reads_one_text(request, tmp_path, layout, name, text):
    task = get_task(name)
    folder = request.getfixturevalue(f"{layout}_folder")
    encoder = open_encoder(task, model_args(folder), GenerationArguments(max_new_tokens=16), 128)
    row = {"id": "1", task.input_columns[0].name: text}
    asked = [{"role": "user", "content": text}]
    told = stock(encoder, tmp_path / "saved", asked, add_generation_prompt=True)
    assert [[told]] == encoder.prompts([task.input_example(row)])
    if name == "summarize":
        answered = [*asked, {"role": "assistant", "content": "시청은 도서관을 연다."}]
        (learnt,) = encoder.training_rows([task.format(row | {"summary": "시청은 도서관을 연다."})])
        assert stock(encoder, tmp_path / "saved", answered) == learnt["input_ids"]


@pytest.mark.parametrize("messages", [TALK, [*TALK[1:], TALK[1]], [TALK[1], TALK[1]]])
def test_a_task_that_reads_one_text_refuses_a_conversation(kogpt2_folder, tmp_path, messages):
    encoder = open_encoder(get_task("summarize"), model_args(kogpt2_folder), GenerationArguments(max_new_tokens=16), 128)
    with pytest.raises(Exception, match="give one user message, the text to summarize"):
        stock(encoder, tmp_path / "saved", messages)


@pytest.mark.parametrize("name", ["nli", "qa"])
def test_no_template_of_the_base_is_kept_that_training_does_not_follow(gpt2_folder, tmp_path, name):
    folder = own_template(gpt2_folder, tmp_path / "chatml")
    encoder = open_encoder(get_task(name), model_args(folder), GenerationArguments(max_new_tokens=16), 128)
    encoder.tokenizer.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "chat_template.jinja").exists()
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template is None


def test_a_pair_of_texts_to_classify_has_no_template(kogpt2_folder):
    task = get_task("classify")
    task.use_columns("text_pair=b")
    encoder = open_encoder(task, model_args(kogpt2_folder), GenerationArguments(max_new_tokens=16), 128)
    assert encoder.tokenizer.chat_template is None


@pytest.mark.slow
def test_transformers_4_gives_the_same_ids(folder, tmp_path):
    """In an environment of its own, which has tokenizers and no torch."""
    encoder = opened(folder)
    whole = stock(encoder, tmp_path / "saved", TALK)
    asked = stock(encoder, tmp_path / "saved", TALK[:4], add_generation_prompt=True)
    make_portable(tmp_path / "saved")  # as a run does
    old = tmp_path / "old"
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", old, "transformers>=4.57,<5", "jinja2"], check=False
    )
    if installed.returncode:
        pytest.skip("transformers 4 cannot be installed here")
    program = (
        "import json, sys, transformers; assert transformers.__version__.startswith('4.'); folder, talk = sys.argv[1:]\n"
        "tokenizer, talk = transformers.AutoTokenizer.from_pretrained(folder), json.loads(talk)\n"
        "whole = tokenizer.apply_chat_template(talk, return_dict=True)['input_ids']\n"
        "asked = tokenizer.apply_chat_template(talk[:4], add_generation_prompt=True, return_dict=True)['input_ids']\n"
        "print(json.dumps([whole, asked]))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", program, str(tmp_path / "saved"), json.dumps(TALK)],
        env={"PYTHONPATH": str(old), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [whole, asked]
