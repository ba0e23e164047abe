"""What the model reads and learns, as literal tokens: rows of each task, cuts, windows, and prompts equal to inference's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from tasks import TASKS, get_task
from tasks.base import BOS, Example, Separator, Source
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.tokenizer import load_tokenizer
from tasks.preparing.encoding import IGNORE, Encoder, sequence_length
from tasks.preparing.tables import encode
from tests.conftest import model_args, with_separators
from tests.helpers.task_rows import TRAINED, rows_of

EOS = 1  # </s> of the kogpt2 layout

ROWS = {name: {"id": "0", **rows_of(task)[0]} for name, task in TASKS.items()} | {
    "generate": {"id": "0", "text": "서울은 대한민국의 수도이다."},
    "scratch": {"id": "0", "text": "서울은 대한민국의 수도이다."},
    "summarize": {"id": "0", "document": "부산은 바다에 접한 도시이다.", "summary": "부산은 도시이다."},
    "nli": {"id": "0", "premise": "사과를 먹었다.", "hypothesis": "비가 온다.", "label": 2},
    "qa": {
        "id": "0",
        "context": "민준이는 도서관에서 책을 빌렸다.",
        "question": "누가 책을 빌렸나요?",
        "answers": {"text": ["민준이는"], "answer_start": [0]},
    },
}
#: Those whose prompt has a text that may be cut, and those that take a text of any length.
ANSWERED = [name for name in TRAINED if get_task(name).format(ROWS[name]).source_text]
ANY_LENGTH = [name for name in TRAINED if name in ANSWERED or get_task(name).output_type == "loglikelihood"]

WORDS = ["서울은", "부산은", "비가", "책을", "민준이는", "공원에서", "날씨가", "과일을", "시청은", "누가"]


def make(folder: str, task: str, max_length: int = 128, max_new_tokens: int = 16) -> Encoder:
    arguments = model_args(folder)
    tokenizer, _ = with_separators(load_tokenizer(arguments, load_config(arguments)), get_task(task))
    return Encoder(tokenizer, max_length, max_new_tokens)


def tokens(encoder: Encoder, ids: list[int]) -> str:
    return " ".join(encoder.tokenizer.convert_ids_to_tokens(ids))


def prompt_of(row: dict[str, list[int]]) -> list[int]:
    """The ids of a training row that carry no loss; they stand in front, and what follows is learnt as it stands."""
    size = next(i for i, label in enumerate(row["labels"]) if label != IGNORE)
    assert row["labels"][size:] == row["input_ids"][size:]
    return row["input_ids"][:size]


def long_context(answer_at: int, words: int = 60) -> tuple[str, dict]:
    """A context of words that are one token each, with 도서관을 as the word number ``answer_at``."""
    parts = [WORDS[i % len(WORDS)] for i in range(words)]
    parts[answer_at] = "도서관을"
    context = " ".join(parts)
    answers = {"text": ["도서관을"], "answer_start": [context.index("도서관을")]}
    return context, {"id": "q", "context": context, "question": "언제부터", "answers": answers}


# Rows, literally


@pytest.mark.parametrize(
    ("task", "expected", "prompt_length"),
    [
        ("generate", "</s> ▁서울은 ▁대한민국의 ▁수도이다. </s>", 1),
        ("scratch", "</s> ▁서울은 ▁대한민국의 ▁수도이다. </s>", 1),
        ("summarize", "▁부산은 ▁바다에 ▁접한 ▁도시이다. <summarize> ▁부산은 ▁도시이다. </s>", 5),
        ("nli", "▁사과를 ▁먹었다. <sep> ▁비가 ▁온다. <nli> ▁모순 </s>", 6),
        ("qa", "▁민준이는 ▁도서관에서 ▁책을 ▁빌렸다. <question> ▁누가 ▁책을 ▁빌렸나요? <answer> ▁민준이는 </s>", 9),
    ],
)
def test_each_task_makes_the_row_of_the_design(kogpt2_folder, task, expected, prompt_length):
    encoder = make(kogpt2_folder, task)
    (row,) = encoder.training_rows([get_task(task).format(ROWS[task])])
    assert tokens(encoder, row["input_ids"]) == expected
    assert row["labels"] == [-100] * prompt_length + row["input_ids"][prompt_length:]
    assert encoder.counts == {"split": 0} if task in ("generate", "scratch") else not encoder.counts


def test_special_tokens_of_a_row_have_the_ids_of_kogpt2(kogpt2_folder):
    (row,) = make(kogpt2_folder, "nli").training_rows([get_task("nli").format(ROWS["nli"])])
    sep, nli, eos = (row["input_ids"][i] for i in (2, 5, 7))
    assert (sep, nli, eos) == (9, 10, 1)


def test_llamas_bos_stands_in_front_once(llama_folder):
    for task in TRAINED:
        encoder = make(llama_folder, task)
        bos = encoder.tokenizer.bos_token_id
        (row,) = encoder.training_rows([get_task(task).format(ROWS[task])])
        assert row["input_ids"][0] == bos and row["input_ids"].count(bos) == 1
        assert row["labels"][0] == IGNORE


def test_other_layouts_get_no_prefix(kogpt2_folder, gpt2_folder, neox_folder):
    assert [make(folder, "qa").prefix for folder in (kogpt2_folder, gpt2_folder, neox_folder)] == [[], [], []]


@pytest.mark.parametrize("text", ["책을 </s> 빌렸다.", "<summarize>", "</s>", "책<summarize></s>책"])
def test_markers_inside_a_document_neither_end_nor_divide_it(any_folder, text):
    task, encoder = get_task("summarize"), make(any_folder, "summarize")
    (row,) = encoder.training_rows([task.format({"id": "0", "document": text, "summary": text})])
    assert row["input_ids"].count(encoder.separator_id(Separator("<summarize>"))) == 1
    assert row["input_ids"].count(encoder.tokenizer.eos_token_id) == 1
    assert row["labels"][-1] == encoder.tokenizer.eos_token_id


# The contract: the prompt that training sees is the prompt that inference sees


@pytest.mark.parametrize("task", ANSWERED)
@pytest.mark.parametrize("max_length", [128, 64])
def test_training_and_inference_read_the_same_prompt(any_folder, task, max_length):
    encoder, task = make(any_folder, task, max_length, 16), get_task(task)
    row = dict(ROWS[task.name])
    source = task.input_columns[0].name
    for times in (1, 30):  # as it is, and cut
        row[source] = " ".join([row[source]] * times)
        learnt = task.format(row)
        asked = task.input_example(row)
        (trained,) = encoder.training_rows([learnt])
        (prompts,) = encoder.prompts([asked])
        assert prompt_of(trained) in prompts
        assert encoder.prompts([learnt]) == [prompts]
        if task.name != "qa":
            assert len(prompts) == 1


def test_generation_begins_as_its_training_rows_do(any_folder):
    task, encoder = get_task("generate"), make(any_folder, "generate")
    (trained,) = encoder.training_rows([task.format(ROWS["generate"])])
    text = ROWS["generate"]["text"]
    ((prompt,),) = encoder.prompts([task.input_example({"id": "0", "text": text})])
    assert trained["input_ids"] == [*prompt, encoder.tokenizer.eos_token_id]
    ((empty,),) = encoder.prompts([task.input_example({"id": "0"})])
    assert empty == [encoder.tokenizer.bos_token_id] == prompt_of(trained)


def test_a_batch_gives_what_its_rows_give_one_by_one(any_folder):
    for name in ANY_LENGTH:
        task = get_task(name)
        source = task.input_columns[0].name
        rows = [{**ROWS[name], "id": str(i), source: " ".join([ROWS[name][source]] * (1 + 7 * i))} for i in range(4)]
        examples = [task.format(row) for row in rows]
        together, alone = make(any_folder, name, 100), make(any_folder, name, 100)
        assert together.training_rows(examples) == [row for e in examples for row in alone.training_rows([e])]
        assert together.counts == alone.counts
        if name in ANSWERED:
            assert together.prompts(examples) == [alone.prompts([example])[0] for example in examples]


# Cutting


def test_only_the_source_is_cut_and_from_its_end(kogpt2_folder):
    encoder = make(kogpt2_folder, "nli", max_length=10, max_new_tokens=4)
    example = get_task("nli").format({**ROWS["nli"], "premise": "서울은 부산은 비가 책을 누가"})
    (row,) = encoder.training_rows([example])
    # 10 tokens, 4 of them kept free as at inference: 6 for the prompt, 4 of which are <sep>, hypothesis and <nli>.
    assert tokens(encoder, row["input_ids"]) == "▁서울은 ▁부산은 <sep> ▁비가 ▁온다. <nli> ▁모순 </s>"
    assert encoder.counts == {"cut": 1}


def test_a_source_that_just_fits_is_not_counted_as_cut(kogpt2_folder):
    encoder = make(kogpt2_folder, "nli", max_length=10, max_new_tokens=4)
    encoder.training_rows([get_task("nli").format(ROWS["nli"])])
    assert not encoder.counts


def test_asking_for_prompts_counts_nothing(kogpt2_folder):
    encoder = make(kogpt2_folder, "summarize", 12, 4)
    encoder.prompts([Example("0", (Source(" ".join(WORDS)), Separator("<summarize>")))])
    assert not encoder.counts


def test_a_completion_longer_than_max_new_tokens_is_kept_whole_and_takes_room_from_the_source(kogpt2_folder):
    encoder = make(kogpt2_folder, "summarize", max_length=10, max_new_tokens=2)
    row = {"id": "0", "document": " ".join(WORDS), "summary": "서울은 대한민국의 수도이다. 비가 온다."}
    (encoded,) = encoder.training_rows([get_task("summarize").format(row)])
    expected = "▁서울은 ▁부산은 ▁비가 <summarize> ▁서울은 ▁대한민국의 ▁수도이다. ▁비가 ▁온다. </s>"
    assert tokens(encoder, encoded["input_ids"]) == expected
    assert len(encoded["input_ids"]) == 10


def test_no_row_is_longer_than_max_length(any_folder):
    for name in ANY_LENGTH:
        task, encoder = get_task(name), make(any_folder, name, 90, 16)
        source = task.input_columns[0].name
        row = {**ROWS[name], source: " ".join([ROWS[name][source]] * 30)}
        rows = encoder.training_rows([task.format(row)])
        assert rows and all(len(encoded["input_ids"]) <= 90 for encoded in rows)
        assert all(len(encoded["input_ids"]) == len(encoded["labels"]) for encoded in rows)
        assert rows[-1]["labels"][-1] == encoder.tokenizer.eos_token_id


def test_rows_without_room_for_a_source_are_dropped_and_counted(kogpt2_folder):
    task, encoder = get_task("summarize"), make(kogpt2_folder, "summarize", max_length=8, max_new_tokens=2)
    long_summary = {"id": "0", "document": "부산은 도시이다.", "summary": " ".join(WORDS)}
    rows = encoder.training_rows([task.format(long_summary), task.format(ROWS["summarize"])])
    assert len(rows) == 1 and encoder.counts["dropped"] == 1


def test_a_row_without_completion_is_dropped_and_counted(kogpt2_folder):
    encoder = make(kogpt2_folder, "summarize")
    assert encoder.training_rows([get_task("summarize").input_example(ROWS["summarize"])]) == []
    assert encoder.counts == {"dropped": 1}


def test_a_prompt_that_may_not_be_cut_and_does_not_fit_is_an_error_at_inference(kogpt2_folder):
    encoder = make(kogpt2_folder, "generate", max_length=8, max_new_tokens=4)
    beginning = Example("7", (BOS, "서울은 부산은 비가 책을"))
    with pytest.raises(UserError, match=r"row 7: the prompt has 5 tokens that may not be cut, and 4 fit; shorten it, or"):
        encoder.prompts([beginning])
    question = get_task("qa").input_example({"id": "3", "context": "책을", "question": " ".join(WORDS)})
    with pytest.raises(UserError, match="row 3: the prompt has 12 tokens"):
        make(kogpt2_folder, "qa", 14, 4).prompts([question])


def test_no_room_for_a_prompt_is_an_error(kogpt2_folder):
    for max_new_tokens in (16, 17):
        with pytest.raises(
            UserError, match=f"max_new_tokens {max_new_tokens} leaves no room for a prompt within max_length 16"
        ):
            make(kogpt2_folder, "qa", 16, max_new_tokens)


def test_a_tokenizer_of_another_task_is_an_error(kogpt2_folder):
    with pytest.raises(UserError, match="no token <sep>; this model was made for another task"):
        make(kogpt2_folder, "summarize").training_rows([get_task("nli").format(ROWS["nli"])])


# Windows of a question's context


@pytest.mark.parametrize("answer_at", [0, 1, 9, 10, 29, 30, 31, 50, 58, 59])
def test_the_training_window_holds_the_answer_and_is_one_that_inference_reads(kogpt2_folder, answer_at):
    encoder, task = make(kogpt2_folder, "qa", max_length=32, max_new_tokens=8), get_task("qa")
    _, row = long_context(answer_at)
    (trained,) = encoder.training_rows([task.format(row)])
    (prompts,) = encoder.prompts([task.input_example(row)])
    assert "▁도서관을" in tokens(encoder, prompt_of(trained)).split()
    assert prompt_of(trained) in prompts
    assert tokens(encoder, trained["input_ids"]).endswith("<question> ▁언제부터 <answer> ▁도서관을 </s>")
    assert encoder.counts == {"read_in_windows": 1}
    # 32 - 8 for the answer - 3 for the question = 21 tokens of context; steps of half a window.
    assert [len(prompt) for prompt in prompts] == [24] * 5


def test_windows_cover_every_token_of_the_context(any_folder):
    encoder, task = make(any_folder, "qa", max_length=80, max_new_tokens=8), get_task("qa")
    context, row = long_context(30)
    ((whole,), _) = encoder.tokenize([context])
    (prompts,) = encoder.prompts([task.input_example(row)])
    question = encoder.separator_id(Separator("<question>"))
    windows = [prompt[len(encoder.prefix) : prompt.index(question)] for prompt in prompts]
    assert windows[0] == whole[: len(windows[0])] and windows[-1] == whole[-len(windows[-1]) :]
    # Laid side by side where they stand in the context, no token is left out.
    covered, start = 0, 0
    for window in windows:
        start = next(i for i in range(start, len(whole)) if whole[i : i + len(window)] == window)
        assert start <= covered
        covered = start + len(window)
    assert covered == len(whole)


def test_every_span_of_half_a_window_stands_whole_in_some_window(kogpt2_folder):
    encoder, task = make(kogpt2_folder, "qa", max_length=32, max_new_tokens=8), get_task("qa")
    for first in range(0, 50):
        context, row = long_context(59)
        words = context.split()
        answer = " ".join(words[first : first + 10])
        start = len(" ".join(words[:first])) + (first > 0)
        row["answers"] = {"text": [answer], "answer_start": [start]}
        assert len(encoder.training_rows([task.format(row)])) == 1, first
    assert not encoder.counts["dropped"]


def test_an_answer_longer_than_every_window_is_dropped_and_counted(kogpt2_folder):
    encoder, task = make(kogpt2_folder, "qa", max_length=32, max_new_tokens=8), get_task("qa")
    context, row = long_context(30)
    row["answers"] = {"text": [" ".join(context.split()[10:36])], "answer_start": [None]}
    assert encoder.training_rows([task.format(row)]) == []
    assert encoder.counts["dropped"] == 1


@pytest.mark.parametrize("front", ["", " ", "\n", "  \n ", "\u3000", "㎏ ﬁ ½ 각 "])
@pytest.mark.parametrize("answer_at", [0, 119])
def test_an_answer_at_the_very_edge_is_held_with_white_space_around_the_context(any_folder, front, answer_at):
    encoder, task = make(any_folder, "qa", max_length=100, max_new_tokens=8), get_task("qa")
    context, row = long_context(answer_at, words=120)
    row["context"] = front + context + front
    row["answers"]["answer_start"] = [row["context"].index("도서관을")]
    (trained,) = encoder.training_rows([task.format(row)])
    assert encoder.counts["read_in_windows"] == 1
    before = prompt_of(trained)
    text = encoder.tokenizer.decode(before[: before.index(encoder.separator_id(Separator("<question>")))])
    assert "도서관을" in text


def test_the_repeated_answer_that_is_marked_is_the_one_held(kogpt2_folder):
    encoder, task = make(kogpt2_folder, "qa", max_length=32, max_new_tokens=8), get_task("qa")
    words = ["도서관을", *WORDS * 5, "도서관을"]
    context = " ".join(words)
    row = {"id": "0", "context": context, "question": "언제부터"}
    for start, inside in ((0, "▁서울은"), (len(context) - 4, "▁누가 ▁도서관을 <question>")):
        (trained,) = encoder.training_rows(
            [task.format({**row, "answers": {"text": ["도서관을"], "answer_start": [start]}})]
        )
        read = tokens(encoder, prompt_of(trained))
        assert inside in read
        assert read.startswith("▁도서관을") == (start == 0)


# Texts that are longer than a sequence


@pytest.mark.parametrize("words", range(1, 33))
def test_a_long_text_is_split_with_every_token_learnt_exactly_once(kogpt2_folder, words):
    encoder = make(kogpt2_folder, "generate", max_length=8, max_new_tokens=2)
    text = " ".join(WORDS[i % len(WORDS)] for i in range(words))
    rows = encoder.training_rows([get_task("generate").format({"id": "0", "text": text})])
    ((whole,), _) = encoder.tokenize([text])
    learnt = [label for row in rows for label in row["labels"] if label != IGNORE]
    assert learnt == [*whole, EOS]
    assert all(2 <= len(row["input_ids"]) <= 8 for row in rows)
    for row in rows:
        assert row["labels"][0] == IGNORE  # the first token of a sequence has nothing to be predicted from
        assert row["labels"][1:] == row["input_ids"][1:]
    assert rows[0]["input_ids"][0] == encoder.tokenizer.bos_token_id
    for last, row in pairwise(rows):
        assert row["input_ids"][0] == last["input_ids"][-1]
    assert encoder.counts == {"split": int(words + 2 > 8)}


# Lengths, and whole data sets


def test_sequence_length_is_the_models_or_what_was_asked_for(kogpt2_folder):
    tokenizer = make(kogpt2_folder, "qa").tokenizer
    assert sequence_length(None, tokenizer) == 128
    assert sequence_length(2, tokenizer) == 2
    assert sequence_length(128, tokenizer) == 128
    tokenizer.model_max_length = 32768
    assert sequence_length(None, tokenizer) == 1024
    assert sequence_length(4096, tokenizer) == 4096


@pytest.mark.parametrize("requested", [-1, 0, 1, 129])
def test_a_length_that_the_model_cannot_read_is_an_error(kogpt2_folder, requested):
    with pytest.raises(UserError, match=f"--max_length is {requested}; this model reads from 2 to 128 tokens"):
        sequence_length(requested, make(kogpt2_folder, "qa").tokenizer)


def test_encode_counts_rows_and_tokens_of_each_split(kogpt2_folder):
    task, encoder = get_task("summarize"), make(kogpt2_folder, "summarize", 16, 4)
    long = task.format({**ROWS["summarize"], "id": "long", "document": " ".join(WORDS * 2)})
    train, train_counts, _, _ = encode(encoder, [task.format(ROWS["summarize"]), long], "train")
    validation, counts, _, _ = encode(encoder, [task.format(ROWS["summarize"])], "validation")
    assert train.column_names == ["id", "input_ids", "labels"]
    assert train["id"][:] == ["0", "long"]
    assert (len(train), len(validation)) == (2, 1)
    # 8 tokens; 12 tokens of prompt and 3 of completion.
    assert train_counts == {"rows": 2, "cut": 1, "tokens": 23, "labelled_tokens": 6}
    assert counts == {"rows": 1, "tokens": 8, "labelled_tokens": 3}


def test_encode_gives_the_same_rows_across_its_batches(kogpt2_folder):
    task, encoder = get_task("nli"), make(kogpt2_folder, "nli")
    examples = [task.format({**ROWS["nli"], "premise": WORDS[i % 10], "label": i % 3}) for i in range(2001)]
    dataset = encode(encoder, examples, "train").rows
    assert dataset["input_ids"][:] == [row["input_ids"] for row in encoder.training_rows(examples)]


def test_encode_refuses_a_split_with_nothing_to_learn(kogpt2_folder):
    encoder = make(kogpt2_folder, "summarize", 8, 2)
    example = get_task("summarize").format({"id": "0", "document": "책을", "summary": " ".join(WORDS)})
    with pytest.raises(UserError, match="none of the 2 train rows has anything to learn within max_length 8; raise"):
        encode(encoder, [example] * 2, "train")


def test_characters_without_a_token_are_counted_and_named(kogpt2_folder, gpt2_folder):
    example = Example("1", (Source("뷁 비가 온다. 쀍"), Separator("<summarize>")), "비가 뷁", ("비가 뷁",))
    encoder = make(kogpt2_folder, "summarize")
    encoder.training_rows([example, replace(example, completion="비가 온다.")])
    assert encoder.counts == {"unknown_tokens": 5, "unwritable": 1}
    assert encoder.unknown_characters(["뷁 비가", "뷁 쀍"]) == ["뷁", "쀍"]
    encoder = make(gpt2_folder, "summarize")  # bytes write everything
    encoder.training_rows([example])
    assert not encoder.counts


def test_a_completion_that_no_prediction_could_end_is_counted(kogpt2_folder):
    encoder = make(kogpt2_folder, "summarize", max_new_tokens=4)
    for words, counted in ((3, 0), (4, 1)):  # and eos
        text = " ".join(["비가"] * words)
        encoder.training_rows([Example("1", (Source("비가 온다."), Separator("<summarize>")), text, (text,))])
        assert encoder.counts["longer_than_max_new_tokens"] == counted
