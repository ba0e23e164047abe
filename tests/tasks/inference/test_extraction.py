"""Answers that stand in their context, for the four tokenizer layouts and whatever the model would rather write."""

from __future__ import annotations

import functools
import json
import re
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from tasks import get_task
from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.errors import UserError
from tasks.inference.extraction import Extractor
from tasks.model.config import load_config
from tasks.model.new_model import train_tokenizer
from tasks.model.tokenizer import add_separators, load_tokenizer
from tests.conftest import CORPUS, model_args, write_rows

LAYOUTS = ("kogpt2", "gpt2", "llama", "neox", "scratch")

#: The tests' KoGPT2 knows the syllables of its corpus and no byte; 뷁 is of none of its tokens.
WORDS = (
    "서울은", "서울", "수도", "도서관에서", "2022년", "２０２３년", "5㎞", "㎞", "kg", "책을", "빌렸다.", "ㅠㅠ", "😂",
    "👩\u200d👧", "☺️", unicodedata.normalize("NFD", "한국은"), "뷁", "é", "e\u0301", "¨", "(참)", "</s>", "<unk>", "<0xEA>",
    "▁", "x",
)  # fmt: skip
SPACE = (" ", "\n", "  ", "\n ", "\u3000", "\t\t\t", "\u00a0", "")


@st.composite
def contexts(draw) -> str:
    words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
    return "".join(draw(st.sampled_from(SPACE)) + word for word in words) + draw(st.sampled_from(SPACE))


@pytest.fixture(scope="session")
def extractors(request):
    """``extractors(layout)``: its tokenizer with the separators of qa, and its Extractor."""

    @functools.cache
    def of(layout: str) -> tuple[PreTrainedTokenizerFast, Extractor]:
        if layout == "scratch":
            tokenizer = train_tokenizer(CORPUS, 800, get_task("qa").separators, 128)
        else:
            arguments = model_args(request.getfixturevalue(f"{layout}_folder"))
            tokenizer = load_tokenizer(arguments, load_config(arguments))
        tokenizer, _ = add_separators(tokenizer, get_task("qa").separators)
        return tokenizer, Extractor(tokenizer)

    return of


def seen(text: str) -> str:
    """What a model sees of a text, whatever its tokenizer: compatibility forms, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def spell(extractor: Extractor, context: str, wanted: bytes, choose) -> list[int] | None:
    """Tokens for ``wanted`` by any tokenisation, each checked to be allowed, and eos after them; None if there is none."""
    following = extractor.allowed([context])
    ids: list[int] = []

    @functools.cache
    def ways(rest: bytes) -> list[int]:
        fits = [t for t, piece in extractor.pieces.items() if rest.startswith(piece) and piece]
        return [t for t in fits if rest == extractor.pieces[t] or ways(rest[len(extractor.pieces[t]) :])]

    if not ways(wanted):
        return None
    while wanted:
        token = choose(ways(wanted))
        assert token in following(0, ids)
        ids.append(token)
        wanted = wanted[len(extractor.pieces[token]) :]
    assert extractor.eos in following(0, ids)
    return ids


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), context=contexts())
def test_whatever_is_preferred_the_answer_stands_in_the_context(extractors, layout, data, context):
    tokenizer, extractor = extractors(layout)
    following, ids = extractor.allowed([context]), []
    random = data.draw(st.randoms(use_true_random=False))
    special = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(["<question>", "<answer>"])}
    for _ in range(40):
        allowed = list(following(0, ids))
        assert allowed and not special - {extractor.eos} & set(allowed)
        if extractor.eos in allowed and (len(allowed) == 1 or random.random() < 0.2):
            # The answer is what the tokens say, up to what counts as the same, and all of it stands there.
            answer = extractor.answer(context, ids)
            assert seen(answer).replace(" ", "") == seen(tokenizer.decode(ids)).replace(" ", "")
            assert bool(answer) == bool(ids)
            break
        ids.append(random.choice([token for token in allowed if token != extractor.eos]))
    answer = extractor.answer(context, ids)
    assert answer in context and answer == answer.strip()


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), context=contexts())
def test_every_piece_of_the_context_can_be_said_in_any_tokenisation(extractors, layout, data, context):
    _, extractor = extractors(layout)
    read = extractor.context(context)
    assume(read.begins)
    start = data.draw(st.sampled_from(sorted(read.begins)))
    end = data.draw(st.sampled_from([end for end in sorted(read.ends) if end > start]))
    wanted = read.read[start:end]
    if data.draw(st.booleans()):
        wanted = b" " + wanted  # the mark that KoGPT2 and Llama put in front of a text
    random = data.draw(st.randoms(use_true_random=False))
    ids = spell(extractor, context, wanted, random.choice)
    assume(ids is not None)
    answer = extractor.answer(context, ids)
    # Not compared by NFKC: without it a tokenizer tells 2 and ２ apart.
    same = extractor.context(answer).read if answer else b""
    assert same.strip() == wanted.strip() and answer in context


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_piece_as_the_tokenizer_itself_writes_it_is_allowed(extractors, layout, data):
    tokenizer, extractor = extractors(layout)
    words = data.draw(st.lists(st.sampled_from([w for w in WORDS if w not in ("뷁", "▁")]), min_size=1, max_size=6))
    context = "".join(word + data.draw(st.sampled_from([" ", "\n", "  ", "\n "])) for word in words)
    spans = [match.span() for match in re.finditer(r"\S+", context)]
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(spans) - 1)] * 2)))
    wanted = context[spans[first][0] : spans[last][1]]
    wanted = wanted[: data.draw(st.integers(1, len(wanted)))].strip()
    ids = tokenizer(wanted, add_special_tokens=False, split_special_tokens=True).input_ids
    read = extractor.context(context)
    ends = {read.begins[b] for b in read.begins} | {*read.ends.values()}
    assume(tokenizer.unk_token_id not in ids and spans[first][0] + len(wanted) in ends)
    following = extractor.allowed([context])
    for n in range(len(ids)):
        assert ids[n] in following(0, ids[:n])
    assert extractor.eos in following(0, ids)
    assert seen(extractor.answer(context, ids)) == seen(wanted)


@pytest.mark.parametrize(
    ("context", "said", "answer"),
    [
        ("서울은 대한민국의 수도이다.", "서울", "서울"),  # without its particle
        ("서울은 대한민국의 수도이다.", "한민국의 수", "한민국의 수"),  # in the middle of words
        ("서울은\n\n \t대한민국의  수도", "서울은 대한민국의", "서울은\n\n \t대한민국의"),
        ("서울은 ", "서울은 ", "서울은"),
        ("수도는 서울, 서울은 수도", "서울", "서울"),
        ("책  을 책 을", "책 을", "책  을"),  # twice: the first
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_said_is_given_as_it_stands(extractors, layout, context, said, answer):
    _, extractor = extractors(layout)
    ids = spell(extractor, context, said.encode(), lambda ways: ways[0])
    assert extractor.answer(context, ids) == answer


@pytest.mark.parametrize(
    ("context", "said", "answer"),
    [
        ("서울은 ２０２２년이다.", "2022년", "２０２２년"),
        ("민준이는 ２\u3000년", "2 년", "２\u3000년"),
        (unicodedata.normalize("NFD", "서울은 도시이다."), "서울", unicodedata.normalize("NFD", "서울")),
        ("2㎜이다.", "2mm", "2㎜"),
        ("비가 ㅠㅠ 온다", "ㅠㅠ 온", "ㅠㅠ 온"),  # KoGPT2 has ㅠㅠ whole, and single letters only as NFKC writes them
    ],
)
def test_kogpt2_reads_compatibility_forms_and_gives_the_original(extractors, context, said, answer):
    _, extractor = extractors("kogpt2")
    ids = spell(extractor, context, unicodedata.normalize("NFKC", said).encode(), lambda ways: ways[-1])
    assert extractor.answer(context, ids) == answer


def test_a_character_that_is_read_as_two_is_said_whole_or_not_at_all(extractors):
    _, extractor = extractors("kogpt2")
    m, two = (next(token for token, piece in extractor.pieces.items() if piece == text) for text in (b"m", b"2"))
    following = extractor.allowed(["2㎜"])
    assert {extractor.pieces[token].strip() for token in following(0, [])} == {b"", b"2", b"m", b"mm"}
    assert extractor.eos in following(0, [two])
    assert list(following(0, [two, m])) == [m]
    assert [extractor.answer("2㎜", ids) for ids in ([two, m], [two, m, m], [m, m], [m])] == ["2", "2㎜", "㎜", ""]


@pytest.mark.parametrize("layout", ["gpt2", "llama", "neox"])
def test_an_answer_cut_off_inside_a_character_loses_it(extractors, layout):
    _, extractor = extractors(layout)
    context = "도시는 😀서울"
    byte = {piece: token for token, piece in extractor.pieces.items() if len(piece) == 1}
    ids = [byte[bytes([b])] for b in "도시는 😀".encode()]
    following = extractor.allowed([context])
    for n in range(len(ids)):
        complete = n > 0 and is_utf8(extractor, ids[:n])
        assert (extractor.eos in following(0, ids[:n])) == complete
    assert extractor.answer(context, ids) == "도시는 😀"
    assert extractor.answer(context, ids[:-1]) == extractor.answer(context, ids[:-3]) == "도시는"
    assert extractor.answer(context, ids[:2]) == extractor.answer(context, []) == ""


def is_utf8(extractor: Extractor, ids: list[int]) -> bool:
    try:
        b"".join(extractor.pieces[token] for token in ids).decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("context", ["", " \n", "뷁"])
def test_nothing_is_said_only_where_nothing_can_be(extractors, layout, context):
    _, extractor = extractors(layout)
    first = list(extractor.allowed([context])(0, []))
    assert (first == [extractor.eos]) == (not context.strip() or layout == "kogpt2")
    assert extractor.answer(context, []) == ""


def test_a_character_that_cannot_be_finished_is_not_begun():
    # ㎞ is read as km. With a k, and an m nowhere but elsewhere, an answer that began with it could never end.
    vocabulary = {"</s>": 0, "k": 1, "g": 2, "▁": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer, tokenizer.decoder = normalizers.NFKC(), decoders.Metaspace()
    extractor = Extractor(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))
    assert set(extractor.allowed(["5㎞ ㎏"])(0, [])) == {1, 3}
    assert set(extractor.allowed(["5㎞ ㎏"])(0, [1])) == {2}
    assert extractor.answer("5㎞ ㎏", [1, 2]) == "㎏"
    assert set(extractor.allowed(["5㎞"])(0, [])) == {0}


def test_bytes_of_a_sentencepiece_vocabulary_are_bytes():
    # Llama 2: spaces become ▁ in the normalizer, and what is rare is spelled in <0xEA>.
    names = ["<s>", "</s>", "▁서울", "서", "▁", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    extractor = Extractor(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>"))
    context = "대한민국 서울 😀"
    spelled = [names.index(f"<0x{byte:02X}>") for byte in "한민국".encode()]
    ids = [*spelled, names.index("▁서울"), names.index("▁"), *(names.index(f"<0x{b:02X}>") for b in "😀".encode())]
    following = extractor.allowed([context])
    for n in range(len(ids)):
        assert ids[n] in following(0, ids[:n])
    assert extractor.answer(context, ids) == "한민국 서울 😀"


def test_where_the_way_back_is_lost_the_text_as_read_is_the_context():
    tokenizer = Tokenizer(models.BPE(vocab={"</s>": 0, "a": 1, "b": 2, "c": 3, "▁": 4}, merges=[]))
    # Looks three characters far, so pieces that are normalised by themselves do not add up.
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace("xyz", "abc"), decoders.Metaspace()
    extractor = Extractor(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))
    assert extractor.context("a xyz").text == "a abc"
    assert extractor.answer("a xyz", [2, 3]) == "bc"


def test_a_tokenizer_whose_tokens_are_a_riddle_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "가": 1}, unk_token="</s>"))
    with pytest.raises(UserError, match="--extractive: it is not known which characters this tokenizer's tokens stand for"):
        Extractor(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>"))


# Through the predictor


ROWS = [
    {"id": "a", "context": "민준이는 도서관에서 책을 빌렸다.\n서연이는 자전거를 탔다.", "question": "누가 책을 빌렸나요?"},
    {"id": "b", "context": "비가 온다.", "question": "날씨가 맑다?"},
    {"id": "c", "context": "서울은 대한민국의 수도이다. 부산은 바다에 접한 도시이다. " * 4, "question": "어디?"},
]


def test_a_batch_answers_as_each_row_alone(any_folder, make_predictor):
    predictor = make_predictor(any_folder, "qa", max_length=64, extractive=True)
    examples = [predictor.task.input_example(row) for row in ROWS]
    together = predictor.predict(examples)
    assert len({prediction.text for prediction in together}) == 3
    for row, example, prediction in zip(ROWS, examples, together):
        assert prediction.text and prediction.text in row["context"]
        assert predictor.predict([example])[0].text == prediction.text


def test_a_window_may_answer_from_the_whole_context(kogpt2_folder, make_predictor, monkeypatch):
    predictor = make_predictor(kogpt2_folder, "qa", max_length=32, extractive=True)
    example = predictor.task.input_example(ROWS[2])
    windows = len(predictor.encoder.prompts([example])[0])
    asked, allowed = [], predictor.extractor.allowed
    monkeypatch.setattr(predictor.extractor, "allowed", lambda texts: asked.extend(texts) or allowed(texts))
    (prediction,) = predictor.predict([example])
    assert windows > 1 and asked == [ROWS[2]["context"]] * windows
    assert prediction.text in ROWS[2]["context"] and prediction.scores["windows"] == windows


def test_what_is_free_stays_free(kogpt2_folder, make_predictor):
    free = make_predictor(kogpt2_folder, "qa")
    assert any(free.predict([free.task.input_example(row)])[0].text not in row["context"] for row in ROWS)
    assert "extractor" not in vars(free)  # no vocabulary was made ready


@pytest.mark.parametrize("task", ["summarize", "nli", "generate", "scratch"])
def test_other_tasks_refuse(task):
    with pytest.raises(UserError, match=f"--extractive: {task} does not take its answers from a text; leave it out"):
        generation_settings(get_task(task), GenerationArguments(extractive=True))


@pytest.mark.parametrize("given", [{"num_beams": 2}, {"do_sample": True}, {"no_repeat_ngram_size": 3}])
def test_other_decoders_refuse(given):
    with pytest.raises(UserError, match="--extractive takes the best token"):
        generation_settings(get_task("qa"), GenerationArguments(**given), {"extractive": True})
    settings = generation_settings(get_task("qa"), GenerationArguments(extractive=False, **given), {"extractive": True})
    assert settings["extractive"] is False


# Through the command line


@pytest.fixture(scope="module")
def qa_file(tmp_path_factory) -> str:
    answers = {"a": "도서관", "b": "비", "c": "부산"}
    rows = [row | {"answers": answers[row["id"]]} for row in ROWS]
    return write_rows(tmp_path_factory.mktemp("qa") / "rows.jsonl", rows)


def test_predict_takes_its_answers_from_the_context(run_script, any_folder, qa_file, tmp_path):
    result = run_script(
        "predict", any_folder, "--task", "qa", "--extractive", "--input_file", qa_file, "--max_new_tokens", 9,
        "--output_file", tmp_path / "out.jsonl",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert all(row["prediction"] and row["prediction"] in row["context"] for row in rows)


def test_evaluating_measures_both_ways(run_script, kogpt2_folder, qa_file, tmp_path):
    command = ("evaluate_model", kogpt2_folder, "--task", "qa", "--validation_file", qa_file, "--max_new_tokens", 9)
    free = run_script(*command, "--output_dir", tmp_path / "free")
    both = run_script(*command, "--extractive", "--output_dir", tmp_path / "both")
    assert (free.code, both.code) == (0, 0), both.stderr
    freely, results = (json.loads((tmp_path / name / "all_results.json").read_text("utf-8")) for name in ("free", "both"))
    assert not [name for name in freely if name.startswith("free_")]
    assert {name: results[f"free_{name}"] for name in ("exact_match", "f1")} == {
        name: freely[name] for name in ("exact_match", "f1")
    }
    assert re.search(rf"\n  free_f1 +{results['free_f1']:.4f} ", both.stdout)
    assert "free_" not in free.stdout
    for line in (tmp_path / "both" / "predictions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        assert row["prediction"] in row["prompt"]


def test_a_run_remembers_it(run_script, kogpt2_folder, qa_file, tmp_path):
    out = tmp_path / "out"
    result = run_script(
        "run_qa", "--model", kogpt2_folder, "--train_file", qa_file, "--validation_file", qa_file, "--test_file", qa_file,
        "--output_dir", out, "--num_train_epochs", 1, "--max_new_tokens", 9, "--extractive", "--metric_for_best_model", "f1",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    results = json.loads((out / "all_results.json").read_text("utf-8"))
    assert {"f1", "free_f1", "free_exact_match", "test_free_f1", "test_free_exact_match"} <= set(results)
    assert json.loads((out / "task.json").read_text("utf-8"))["generation"]["extractive"] is True
    card = (out / "README.md").read_text("utf-8")
    assert "`extractive=True`" in card and "character F1 of free answers" in card
    prompt = ("--prompt", "비가 온다.\t누가?")
    asked = {flags: run_script("predict", out, *prompt, *flags) for flags in ((), ("--extractive", "false"))}
    assert json.loads(asked[()].stdout)["prediction"] in "비가 온다."
    assert all(answer.code == 0 for answer in asked.values())


def test_refusals_are_one_line(run_script, kogpt2_folder):
    command = ("predict", kogpt2_folder, "--extractive", "--prompt", "비가 온다.\t누가?", "--task")
    other, beams = run_script(*command, "summarize"), run_script(*command, "qa", "--num_beams", 2)
    assert (other.code, beams.code) == (2, 2)
    assert other.error.startswith("--extractive: summarize does not take its answers from a text")
    assert beams.error.startswith("--extractive takes the best token of those that go on in the context, which --num_beams")
