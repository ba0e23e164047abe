"""A conversation at the terminal: what is remembered, shown while it is written, kept, and told where it does not fit."""

from __future__ import annotations

import json

import pytest

from tasks.inference.chatting import HELP, converse


@pytest.fixture
def talk(kogpt2_folder, make_predictor, monkeypatch, capsys):
    """``talk(lines...)``: what the model was asked each time (role and text), standard output and standard error."""
    predictor = make_predictor(kogpt2_folder, "chat", do_sample=False)
    complete, asked = predictor.complete, []
    capsys.readouterr()  # of loading the model

    def listening(examples, numbers):
        asked.append(list(examples[0].conversation))
        return complete(examples, numbers)

    monkeypatch.setattr(predictor, "complete", listening)

    def say(*lines: str):
        rest = iter(lines)

        def typed(_):
            line = next(rest, None)
            if line is None:
                raise EOFError
            return line

        monkeypatch.setattr("builtins.input", typed)
        asked.clear()
        converse(predictor)
        return list(asked), *capsys.readouterr()

    say.predictor = predictor
    return say


def test_what_was_said_is_remembered_until_reset(talk):
    asked, out, err = talk("누가", "비가 온다.", "/reset", "누가")
    first = [("user", "누가")]
    answers = out.splitlines()[1:]
    assert asked == [first, [*first, ("assistant", answers[0]), ("user", "비가 온다.")], first]
    assert out.splitlines()[0] == HELP and answers[0] == answers[2] and err == ""


def test_an_answer_is_shown_while_it_is_written_and_whole_in_the_end(talk, monkeypatch):
    heard = []
    text = talk.predictor.text
    monkeypatch.setattr(talk.predictor, "text", lambda prompt, ids: heard.append(len(ids)) or text(prompt, ids))
    _, out, _ = talk("누가")
    assert heard[:-1] == list(range(1, heard[-1] + 1)) and len(heard) > 2
    (answer,) = out.splitlines()[1:]
    monkeypatch.undo()
    (prediction,) = talk.predictor.answer([talk.predictor.task.input_example({"id": "1", "messages": "누가"})])[0]
    assert answer == prediction.text


def test_a_system_text_is_told_first_and_stays_after_reset(talk):
    asked, *_ = talk("/system 반말로", "누가", "/reset", "비가", "/system 짧게", "누가")
    assert [turns[0] for turns in asked] == [("system", "반말로"), ("system", "반말로"), ("system", "짧게")]
    assert asked[1] == [("system", "반말로"), ("user", "비가")]
    assert asked[2][1:] == [("user", "비가"), asked[2][2], ("user", "누가")]


def test_a_saved_conversation_is_training_data(talk, tmp_path):
    path = tmp_path / "talk.jsonl"
    _, out, _ = talk("누가", f"/save {path}")
    (row,) = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    said = [{"role": "user", "content": "누가"}, {"role": "assistant", "content": out.splitlines()[1]}]
    assert row == {"messages": said}


def test_a_mistake_costs_a_line_and_nothing_that_was_said(talk, tmp_path):
    asked, _, err = talk("누가", "/rest", "책을 " * 200, f"/save {tmp_path}/missing/talk.jsonl", "비가", "", "시청은")
    assert [turns[-1][1] for turns in asked] == ["누가", ("책을 " * 200).strip(), "비가"]
    assert asked[2][0] == ("user", "누가") and len(asked[2]) == 3
    first, second, third = err.splitlines()
    assert first == f"error: /rest: not known; {HELP}"
    assert second.startswith("error: row typed: the last question has") and "shorten it" in second
    assert third.startswith("error: ")
