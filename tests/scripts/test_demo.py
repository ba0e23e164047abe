"""scripts/demo.py: the page's answers are predict.py's, in the language of the browser, and errors are one line."""

from __future__ import annotations

import json
import os
import socket
from types import SimpleNamespace

import pytest

from tasks import TASKS
from tasks.errors import UserError
from tasks.inference import load
from tasks.showing import page as pages
from tasks.showing.kinds import PAGES, page_of
from tests.helpers.task_rows import TRAINED
from tests.scripts.conftest import ROWS

KOREAN = SimpleNamespace(headers={"accept-language": "ko-KR,ko;q=0.9,en;q=0.8"})
FORMS = [name for name in TRAINED if PAGES[TASKS[name].page].body is pages.Page.body]


@pytest.fixture(scope="module")
def page(finished):
    """``page("qa")``: the page of a finished run."""
    built = {}
    return lambda task: built.get(task) or built.setdefault(task, page_of(load(str(finished(task)))))


def answer(page, row, *settings, request=None):
    """The values of the components after a click, and the last of them, what is said."""
    columns = [column.name for column in page.task.input_columns]
    first, *more = page.answer(request, *(row[name] for name in columns), *settings)
    return (more or [first])[-1]


def test_nothing_is_told_to_the_makers_of_gradio(page):
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and page("nli").blocks.analytics_enabled is False


def test_every_task_has_a_page_and_every_page_a_task():
    assert {task.page for task in TASKS.values()} == set(PAGES)


def test_both_languages_say_the_same():
    english, korean = pages.translations().values()
    assert english.keys() == korean.keys()
    fields = [{key: sorted(piece.partition("}")[0] for piece in words[key].split("{")[1:]) for key in words}
              for words in (english, korean)]  # fmt: skip
    assert fields[0] == fields[1]


@pytest.mark.parametrize("task", FORMS)
def test_the_page_answers_what_predict_writes(task, page, finished, run_script):
    row = {column.name: ROWS[task][0][column.name] for column in TASKS[task].input_columns}
    settings = (20, 0.9, 0.7, 2, 7) if task == "generate" else ()
    flags = ("--top_k", 20, "--top_p", 0.9, "--temperature", 0.7, "--num_return_sequences", 2, "--seed", 7)
    result = run_script("predict", finished(task), *flags[: 2 * len(settings)], stdin=json.dumps(row, ensure_ascii=False))
    *shown, written, said = answer(page(task), row, *settings)
    assert written == json.loads(result.stdout)
    assert said.splitlines()[-1].startswith("Answered in ")
    if task == "nli":
        assert shown == [written["probabilities"]]
    if task == "generate":
        assert shown[0].count('<div class="marked">') == 2 and written["predictions"][1].strip()[:5] in shown[0]
    if task in ("summarize", "qa"):
        assert shown[0] == written["prediction"]


def test_the_answer_is_marked_in_its_context(page):
    qa = page("qa")
    example = qa.task.input_example({"id": "1", "context": "가 <나> 다", "question": "뭐?"})
    words = qa.words["en"]
    assert qa.source(example, {"prediction": "<나>"}, words) == ([("가 ", ""), ("<나>", "mark"), (" 다", "")], [])
    assert pages.marked([("가 ", ""), ("<나>", "mark")]) == '<div class="marked">가 <mark>&lt;나&gt;</mark></div>'
    scores = {"windows": 3, "mean_logprob": -0.256}
    pieces, notes = qa.source(example, {"prediction": "라", "scores": scores}, words)
    assert "".join(text for text, kind in pieces if kind != "mark") == "가 <나> 다"
    assert notes == [words["elsewhere"], words["windows"].format(windows=3, score=-0.256)] and "3 overlapping" in notes[1]


def test_what_does_not_fit_into_the_model_is_grey(finished):
    model = load(str(finished("summarize")), max_length=32)
    document = " ".join(f"민준이 {place}에서 책을 빌렸다." for place in ("도서관", "공원", "시청", "서울", "부산"))
    summarize = page_of(model)
    _, source, *_, said = answer(summarize, {"document": document}, request=KOREAN)
    read, grey = source.removeprefix('<div class="marked">').split('<span class="dim">')
    assert read and document == read + grey.removesuffix("</span></div>")
    encoder = model.predictor.encoder
    (prompt,) = encoder.prompts([model.task.input_example({"id": "1", "document": document})])[0]
    assert encoder.tokenize([read.rstrip()])[0][0] == prompt[:-1]
    assert said.startswith(f"원문의 {len(grey.removesuffix('</span></div>')) / len(document):.0%}는 너무 길어서")
    assert answer(summarize, {"document": "비가 온다."})[1] == '<div class="marked">비가 온다.</div>'  # nothing is grey


def test_mistakes_are_told_in_the_language_of_the_browser(page):
    nli = page("nli")
    row = {"premise": "비가 온다.", "hypothesis": " "}
    assert answer(nli, row) == [None, None, "⚠ Please write something into “Hypothesis”."]
    assert answer(nli, row, request=KOREAN)[-1] == "⚠ ‘가설’ 칸에 글을 입력하세요."
    long = {"premise": "가" * 5_001, "hypothesis": "가"}
    assert answer(nli, long)[-1] == "⚠ “Premise” has 5,001 characters; at most 5,000 are read."
    assert answer(nli, long | {"premise": "비\0가"})[-1].startswith("⚠ No answer: column 'premise' holds a NUL character")
    assert pages.language_of(SimpleNamespace(headers={"accept-language": "fr-FR"})) == "en"
    generate = page("generate")
    assert answer(generate, {"text": ""}, 20, 0.9, 0.7, 1, 7)[1]["text"] == ""  # nothing is a beginning, too


def test_through_a_client_of_the_page(page, finished):
    """The whole way: the queue, the components, and the language that the request asks for."""
    from gradio_client import Client

    qa = page("qa")
    url = qa.launch(prevent_thread_lock=True)
    try:
        assert url.startswith("http://127.0.0.1:")
        row = {key: ROWS["qa"][0][key] for key in ("context", "question")}
        client = Client(url, verbose=False, headers={"accept-language": "ko"})
        text, source, written, said = client.predict(*row.values(), api_name="/answer")
        assert written == load(str(finished("qa")))(row) and text == written["prediction"]
        assert "초 걸렸습니다." in said and "책을 빌렸다." in source
        long = client.predict("가" * 20_001, "뭐?", api_name="/answer")
        assert long == (None, None, None, "⚠ ‘지문’ 칸의 글이 20,001자입니다. 20,000자까지만 읽을 수 있습니다.")
    finally:
        qa.blocks.close()


@pytest.mark.parametrize("task", FORMS)
def test_examples_fit_the_fields(task, page):
    rows = [row for row in page(task).examples() if page(task).task.input_columns[0].name in row]
    assert len(rows) == 3
    for row in rows:
        page(task).task.input_example({"id": "1", **row})


def test_a_missing_extra_a_port_in_use_and_a_folder_that_is_no_run(run_script, finished, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run_script("demo", finished("nli"), "--port", port)
    assert (refused.code, refused.error) == (
        2, f"--host 127.0.0.1 --port {port}: Address already in use; choose another, such as --port 7861",
    )  # fmt: skip
    assert run_script("demo", finished("nli"), "--port", 70000).code == 2
    assert run_script("demo", finished("nli"), "--host", "no.such.host.example").error.startswith("--host no.such.host")
    refused = run_script("demo", tmp_path, "--port", 0)
    assert refused.code == 2 and str(tmp_path) in refused.error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = run_script("demo", finished("nli"))
    assert (refused.code, refused.error) == (2, "the page needs Gradio; install it with: pip install -e '.[demo]'")


def test_user_errors_reach_the_page_in_one_line(page, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise UserError("out of memory while predicting; what helps most: --batch_size 4")

    nli = page("nli")
    monkeypatch.setattr(nli, "model", full)
    said = answer(nli, {"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}, request=KOREAN)[-1]
    assert said == "⚠ 답할 수 없습니다. out of memory while predicting; what helps most: --batch_size 4"


def test_a_conversation_is_remembered_and_shown_while_it_is_written(page, finished):
    chat, model = page("chat"), load(str(finished("chat")))
    asked = {"role": "user", "content": "누가 책을 빌렸나요?"}
    steps = list(chat.reply(KOREAN, asked["content"], [], ""))
    assert steps[0] == ["", [asked], "모델이 읽고 있습니다…"]
    prediction = model({"messages": [asked]})["prediction"]
    field, turns, _ = steps[-1]
    assert (field, turns) == ("", [asked, {"role": "assistant", "content": prediction}])
    assert len(steps) > 3 and {len(said) for _, said, _ in steps[1:]} == {2}  # token by token

    again, told = {"role": "user", "content": "어디에서?"}, {"role": "system", "content": "비가 온다."}
    parts = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in turns]  # as Gradio gives them
    *_, (_, longer, _) = chat.reply(None, again["content"], parts, told["content"])
    assert longer[:3] == [*turns, again]
    assert longer[3]["content"] == model({"messages": [told, *turns, again]})["prediction"]
    assert list(chat.reply(None, " ", turns, "")) == [[" ", turns, "⚠ Please write something into “Your message”."]]
    refused = list(chat.reply(None, "비\0가", turns, ""))[-1]  # what was typed and said stays
    assert refused[:2] == ["비\0가", turns] and refused[2].startswith("⚠ No answer: ")
    assert chat.model.predictor.heard is None
