"""What each output type of a task means, checked by hand or against plain forward passes."""

from __future__ import annotations

import math

import pytest
import torch

from tasks import get_task
from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.errors import UserError
from tasks.inference import predicting

NLI_ROWS = [
    {"id": "a", "premise": "비가 온다.", "hypothesis": "날씨가 맑다."},
    {"id": "b", "premise": "민준이는 도서관에서 사과를 먹었다.", "hypothesis": "과일을 먹지 않았다."},
    {"id": "c", "premise": "서울은 대한민국의 수도이다.", "hypothesis": "부산은 도시이다."},
]


def logprob(model, prompt, target):
    """The sum of log-probabilities of ``target`` after ``prompt``, by one plain forward pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *target]]), use_cache=False).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(target))


def test_settings_given_win_over_those_of_the_run_and_these_over_the_task():
    task = get_task("summarize")
    run = {"num_beams": 3, "top_k": 7, "max_new_tokens": 20}
    settings = generation_settings(task, GenerationArguments(num_beams=5), run)
    assert settings == {
        "num_beams": 5,  # given
        "top_k": 7, "max_new_tokens": 20,  # of the run
        "do_sample": False, "top_p": 0.95, "temperature": 1.0, "repetition_penalty": 1.0,  # defaults
        "no_repeat_ngram_size": 0, "num_samples": 64, "extractive": False, "system": "",
    }  # fmt: skip


def test_a_given_false_or_zero_wins_too():
    run = {"do_sample": True, "no_repeat_ngram_size": 3, "num_samples": 64}
    given = GenerationArguments(do_sample=False, no_repeat_ngram_size=0, num_samples=0)
    settings = generation_settings(get_task("generate"), given, run)
    assert (settings["do_sample"], settings["no_repeat_ngram_size"], settings["num_samples"]) == (False, 0, 0)


@pytest.mark.parametrize(
    ("name", "tokens", "sample"),
    [
        ("generate", 64, True),
        ("summarize", 128, False),
        ("nli", 8, False),
        ("qa", 48, False),
        ("chat", 256, True),
        ("scratch", 64, True),
    ],
)
def test_defaults_of_each_task(name, tokens, sample):
    settings = generation_settings(get_task(name), GenerationArguments())
    assert (settings["max_new_tokens"], settings["do_sample"], settings["num_beams"]) == (tokens, sample, 1)


def test_the_label_is_the_one_whose_word_is_most_probable(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "nli", batch_size=2)
    examples = [predictor.task.input_example(row) for row in NLI_ROWS]
    words = predictor.encoder.tokenize(["참", "중립", "모순"])[0]
    predictions = predictor.predict(examples)
    assert [prediction.id for prediction in predictions] == ["a", "b", "c"]
    for example, prediction in zip(examples, predictions):
        (prompt,) = predictor.encoder.prompts([example])[0]
        by_hand = [logprob(predictor.model, prompt, word) for word in words]
        assert list(prediction.scores) == ["entailment", "neutral", "contradiction"]
        assert list(prediction.scores.values()) == pytest.approx(by_hand, abs=2e-4)
        assert prediction.text == max(prediction.scores, key=prediction.scores.get)


def test_a_text_has_the_likelihood_of_plain_forward_passes(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "generate")
    tokenizer = predictor.encoder.tokenizer
    text = "서울은 대한민국의 수도이다. 비가 온다."
    (prediction,) = predictor.predict([predictor.task.format({"id": "1", "text": text})])
    ids = predictor.encoder.tokenize([text])[0][0]
    assert len(ids) + 2 <= 96  # one window: the bos, the text, eos
    expected = -logprob(predictor.model, [tokenizer.bos_token_id], [*ids, tokenizer.eos_token_id])
    assert prediction.scores["nll"] == pytest.approx(expected, rel=1e-5)
    assert (prediction.scores["tokens"], prediction.scores["characters"]) == (len(ids) + 1, 22)


def test_a_long_text_is_measured_whole(kogpt2_folder, make_predictor):
    text = "서울은 대한민국의 수도이다. " * 30
    predictor = make_predictor(kogpt2_folder, "generate", max_length=32, num_samples=0)
    (prediction,) = predictor.predict([predictor.task.format({"id": "1", "text": text})])
    assert prediction.scores["tokens"] == len(predictor.encoder.tokenize([text])[0][0]) + 1 == 92
    assert prediction.scores["characters"] == len(text)
    assert math.isfinite(prediction.scores["nll"])


def test_only_the_first_texts_are_sampled_from(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate", num_samples=2)
    texts = [f"{n} 서울은 대한민국의 수도이다. 부산은 바다에 접한 도시이다." for n in range(3)]
    predictions = predictor.predict([predictor.task.format({"id": str(n), "text": t}) for n, t in enumerate(texts)])
    assert [p.text is None for p in predictions] == [False, False, True]
    assert predictions[1].prompt == "<bos>1 서울은 대한민국의 수도이다."
    assert [p.id for p in predictions] == ["0", "1", "2"]


def test_a_beginning_that_does_not_fit_is_cut_and_does_not_end_the_run(gpt2_folder, make_predictor):
    # Five Korean words are up to 120 tokens of a byte-level tokenizer; found out only after hours of training.
    predictor = make_predictor(gpt2_folder, "generate", max_length=24)
    text = "뷁쉟퀣 뷁쉟퀣 뷁쉟퀣 뷁쉟퀣 뷁쉟퀣 뷁쉟퀣"
    (prediction,) = predictor.predict([predictor.task.format({"id": "1", "text": text})])
    assert prediction.text is not None


def test_a_typed_beginning_that_does_not_fit_is_refused(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "generate", max_length=24)
    with pytest.raises(UserError, match=r"row x: the prompt has \d+ tokens that may not be cut, and 16 fit"):
        predictor.answer([predictor.task.input_example({"id": "x", "text": "서울은 대한민국의 수도이다. " * 10})])


def test_completions_keep_the_order_of_the_input(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize", batch_size=2)
    texts = ["비가 온다.", "서울은 대한민국의 수도이다. 부산은 바다에 접한 도시이다.", "날씨가 맑다.", "사과"]
    examples = [predictor.task.input_example({"id": text, "document": text}) for text in texts]
    together = predictor.predict(examples)
    assert [p.id for p in together] == texts
    assert [p.text for p in together] == [predictor.predict([example])[0].text for example in examples]
    assert len({p.text for p in together}) == 4


def test_white_space_around_a_completion_belongs_to_the_join(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize")
    ids = predictor.encoder.tokenize(["도서관에서 책을"])[0][0]
    tokenizer = predictor.encoder.tokenizer
    assert predictor.text([], ids) == "도서관에서 책을"
    assert predictor.text([], [tokenizer.pad_token_id, *ids, tokenizer.eos_token_id]) == "도서관에서 책을"


@pytest.mark.parametrize("layout", ["kogpt2", "gpt2", "llama", "neox"])
def test_prompt_and_continuation_are_the_whole_text(layout, request, make_predictor):
    predictor = make_predictor(request.getfixturevalue(f"{layout}_folder"), "generate")
    for prompt, rest in (("사과를 먹", "었다."), ("부산은", " 바다에"), ("", "비가 온다.")):
        pieces, _ = predictor.encoder.tokenize([prompt, rest])
        ids = [predictor.encoder.tokenizer.bos_token_id, *pieces[0]]
        assert predictor.text(ids, pieces[1]).lstrip() == rest.lstrip()
        whole = predictor.encoder.tokenize([prompt + rest])[0][0]
        if whole[: len(pieces[0])] == pieces[0]:  # no token spans the join
            assert predictor.text(ids, whole[len(pieces[0]) :]) == rest


def test_letters_are_written_as_people_type_them(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "summarize")
    written = predictor.encoder.tokenizer.backend_tokenizer.normalizer.normalize_str("ㅋㅋㅋ ㅎㅎ")
    assert written == "\u110f\u110f\u110f \u1112\u1112"
    monkeypatch.setattr(predictor.encoder.tokenizer, "decode", lambda ids, **_: written if ids else "")
    assert predictor.text([], [0]) == "\u314b\u314b\u314b \u314e\u314e"


def test_half_a_character_is_left_out(gpt2_folder, make_predictor):
    predictor = make_predictor(gpt2_folder, "summarize")
    (ids,), _ = predictor.encoder.tokenize(["비뷁"])
    assert len(predictor.encoder.tokenize(["뷁"])[0][0]) == 3  # a token a byte
    texts = [predictor.text([], ids[:end]) for end in range(len(ids) - 3, len(ids) + 1)]
    assert texts == ["비", "비", "비", "비뷁"]


def test_several_completions_of_a_row_stay_together(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "summarize", do_sample=True, temperature=2.0)
    predictor.settings["num_return_sequences"] = 3
    examples = [predictor.task.input_example({"id": name, "document": "비가 온다."}) for name in "ab"]
    rows = predictor.answer(examples)
    assert [[p.id for p in row] for row in rows] == [["a"] * 3, ["b"] * 3]


def answers_of_windows(monkeypatch, predictor, answers, logprobs):
    """Let the windows be answered by ``answers`` in order, each text's tokens having the given log-probabilities."""
    tokenizer, asked = predictor.encoder.tokenizer, []

    def written(model, tokenizer, prompts, *_):
        asked.extend(prompts)
        return [[predictor.encoder.tokenize([answer])[0][0]] for answer in answers[: len(prompts)]]

    def scored(model, pairs, *_):
        assert all(target[-1] == tokenizer.eos_token_id for _, target in pairs)  # stopping counts too
        return logprobs[: len(pairs)]

    monkeypatch.setattr(predicting, "generate", written)
    monkeypatch.setattr(predicting, "token_logprobs", scored)
    return asked


def long_context():
    return {"id": "q", "context": "서울은 대한민국의 수도이다. 부산은 도시이다. " * 12, "question": "누가 책을 빌렸나요?"}


def test_of_several_windows_the_answer_with_the_best_mean_is_kept(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "qa", max_length=48, max_new_tokens=8)
    example = predictor.task.input_example(long_context())
    windows = len(predictor.encoder.prompts([example])[0])
    assert windows >= 3
    answers = ["책", "바다에", "도시", *["책"] * (windows - 3)]
    # Sums: -2, -3, -4; means: -2, -0.75, -4. A sum would take the first, which is the shortest.
    logprobs = [[-2.0], [-0.5, -1.0, -0.5, -1.0], [-4.0], *[[-9.0]] * (windows - 3)]
    asked = answers_of_windows(monkeypatch, predictor, answers, logprobs)
    (prediction,) = predictor.predict([example])
    assert prediction.text == "바다에"
    assert prediction.scores == {"mean_logprob": -0.75, "windows": windows}
    assert len(asked) == windows


def test_a_context_that_fits_is_not_scored(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "qa", max_length=96)
    example = predictor.task.input_example({"id": "q", "context": "서울은 도시이다.", "question": "누가?"})
    answers_of_windows(monkeypatch, predictor, ["책"], [])
    (prediction,) = predictor.predict([example])
    assert (prediction.text, prediction.scores) == ("책", {})


def test_windows_of_two_rows_are_not_mixed_up(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "qa", max_length=48, max_new_tokens=8)
    long = predictor.task.input_example(long_context())
    short = predictor.task.input_example({"id": "s", "context": "서울은 도시이다.", "question": "누가?"})
    windows = len(predictor.encoder.prompts([long])[0])
    # Row 1 is short, row 2 has windows whose last answer is best, row 3 is short again.
    answers = ["사과를", *["책"] * (windows - 1), "바다에", "과일을"]
    answers_of_windows(monkeypatch, predictor, answers, [[-3.0]] * (windows - 1) + [[-1.0]])
    assert [p.text for p in predictor.predict([short, long, short])] == ["사과를", "바다에", "과일을"]


def test_a_question_too_long_for_the_model_is_refused(kogpt2_folder, make_predictor):
    predictor = make_predictor(kogpt2_folder, "qa", max_length=32, max_new_tokens=8)
    row = {"id": "q7", "context": "서울", "question": "누가 책을 빌렸나요? " * 9}
    with pytest.raises(UserError, match=r"row q7: the prompt has \d+ tokens that may not be cut, and 24 fit; shorten it"):
        predictor.predict([predictor.task.input_example(row)])
