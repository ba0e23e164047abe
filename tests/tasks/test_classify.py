"""Labels of the user's own: learnt from the training rows, in both forms, with their baseline and every bad row and flag."""

from __future__ import annotations

import datasets
import pytest
import torch

from tasks import get_task, task_of
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.base import Example, Prediction, Separator, Source
from tasks.errors import RowError, UserError
from tasks.inference.predicting import Predictor, load_predictor
from tasks.model.loading import open_encoder, open_model
from tasks.preparing.run_data import RunData
from tasks.preparing.splits import load_examples
from tasks.reading.columns import resolve_columns
from tasks.reading.sources import find_source
from tasks.run_folder import RunConfig, prompt_format
from tests.conftest import model_args, write_rows


def learnt(*values, words=None, form=None):
    task = get_task("classify")
    task.learn_labels(values, words, form)
    return task


def row(label, text="재미있다."):
    return {"id": "1", "text": text, "label": label}


def test_text_separator_label():
    task = learnt("긍정", "부정", "긍정")
    example = task.format(row("긍정"))
    assert example == Example("1", (Source("재미있다."), "<classification>"), "<label0>", ("긍정",))
    assert isinstance(example.completion, Separator)
    assert task.separators == ("<sep>", "<classification>", "<label0>", "<label1>")
    assert task.input_example(row("긍정")).prompt == example.prompt


def test_words_for_labels():
    task = learnt(0, 1, 1, words="0=부정, 1=긍정")
    assert task.label_words == {"0": "부정", "1": "긍정"}
    assert [task.format(row(label)).references for label in (1, "1", 1.0, "긍정")] == [("1",)] * 4
    assert (task.format(row(0)).completion, task.separators) == ("부정", ("<sep>", "<classification>"))
    assert learnt("a", "b", form="words").label_words == {"a": "a", "b": "b"}


def test_a_second_text_is_read_where_it_is_mapped():
    task = get_task("classify")
    assert prompt_format(task) == "text <classification> label <eos>"
    task.use_columns("text=a,text_pair=b")
    task.use_columns("text=a,text_pair=b")
    assert prompt_format(task) == "text <sep> text_pair <classification> label <eos>"
    assert task.prompt(row("x") | {"text_pair": "좋다."}) == (Source("재미있다."), "<sep>", "좋다.", "<classification>")
    assert len(get_task("classify").input_columns) == 1


def test_numbers_come_by_size_and_names_by_their_letters():
    assert list(learnt(10, 9, "1", 2.0, -1, 1).label_words) == ["-1", "1", "2", "9", "10"]
    assert list(learnt("정치", "IT과학", "경제", "10", "2", "nan", "정치").label_words) == [
        "2",
        "10",
        "IT과학",
        "nan",
        "경제",
        "정치",
    ]


def test_one_label_however_it_is_composed_and_spaced():
    decomposed = "\u1100\u1173\u11bc\u110c\u1165\u11bc"  # NFD of the next
    task = learnt(" 긍정", decomposed, "부  정", None, "")
    assert list(task.label_words) == ["긍정", "부 정"]
    assert task.format(row(decomposed)).references == ("긍정",)


@pytest.mark.parametrize(
    ("values", "flags", "message"),
    [
        (("a", "a"), {}, "all 2 training rows have the label 'a', and there is nothing to learn; look at the data"),
        ((None, ""), {}, "no training row has a label"),
        (("a", "b", "c"), {}, "the 3 training rows have 3 different labels, such as 'a'; name the column of the"),
        ([*range(1001), 1], {}, "the 1,002 training rows have 1,001 different labels"),
        (("a", "b"), {"words": "a"}, "--label_words a: 'a' is not of the form LABEL=WORD"),
        (("a", "b"), {"words": "a=,b=나"}, "'a=' is not of the form LABEL=WORD"),
        (("a", "b"), {"words": "c=다"}, "no training row has the label 'c'; the labels are 'a', 'b'"),
        (("a", "b"), {"words": "a=가,a=나"}, "'a' stands there twice; name each label once"),
        (("a", "b"), {"words": "a=b"}, "'b' stands for two labels; give each its own"),
        (("a", "b"), {"words": "a=가", "form": "tokens"}, "--label_form tokens that a token does; leave one out"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_learnt(values, flags, message):
    with pytest.raises(UserError) as error:
        learnt(*values, **flags)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("label", "problem"),
    [(None, "is empty"), ("", "is empty"), (" ", "is empty"), (float("nan"), "is empty"), (["a", "b"], "holds list")],
)
def test_a_row_without_one_label_is_refused(label, problem):
    with pytest.raises(RowError, match=f"^column 'label' {problem}.*with --skip_bad_rows$"):
        learnt("a", "b").format(row(label))


def counts(train, validation=()):
    return {
        split: {"rows": len(labels)} | {f"label {label}": labels.count(label) for label in labels}
        for split, labels in (("train", list(train)), ("validation", list(validation)))
    }


def test_what_is_said_of_labels_before_training():
    task = learnt("a", "a", "b", "A", "A")
    said = task.notices(counts("aabAA", "abxxy"))
    assert set(said) == {
        "labels with a single training row, which will hardly be learnt: 'b'",
        "3 rows of validation have a label that no training row has, and count as wrong: 'x', 'y'",
        "labels that differ only in case or spaces: 'A' and 'a'; if one is meant, write it alike",
    }
    assert learnt("a", "b", "a", "b").notices(counts("aabb", "ab")) == []
    with pytest.raises(UserError, match="no row of validation has a label that the model knows: they are '0', and it knows"):
        task.notices(counts("aabAA", "00"))


def test_a_label_that_training_lacks_counts_as_wrong():
    task = learnt("a", "b", "a")
    scores = task.score([Prediction("1", "", given, (right,)) for given, right in (("a", "a"), ("b", "x"))])
    assert scores["accuracy"] == 0.5
    assert scores["confusion_matrix"]["x"] == {"a": 0, "b": 1, "x": 0}
    assert task.format(row("x")).completion == "x"


def test_the_baseline_counts_pieces_of_the_training_rows_words():
    task = learnt("좋다", "싫다", "싫다")
    train = [task.format(row(*each)) for each in (("좋다", "정말 좋아요"), ("싫다", "너무 지루해"), ("싫다", "지루해요"))]
    examples = [task.format(row(*each)) for each in (("좋다", "참 좋아요"), ("싫다", "지루한데"))]
    found = task.baseline(examples, train)
    assert (found["baseline"], found["baseline_accuracy"], found["baseline_majority_accuracy"]) == (
        "word counting",
        1.0,
        0.5,
    )
    without = task.baseline(examples)
    assert (without["baseline"], without["baseline_accuracy"]) == ("majority label", 0.5)


def test_task_json_brings_back_tokens_and_columns():
    run = RunConfig(
        "classify", 1, "b", "", {"<sep>": 9, "<classification>": 10, "<label0>": 11, "<label1>": 12},
        {"a": "<label0>", "b": "<label1>"}, 64, 8, column_map="text=x,text_pair=y", temperature=2.0,
    )  # fmt: skip
    task = task_of(run)
    assert all(isinstance(word, Separator) for word in task.label_words.values())
    assert task.separators == ("<sep>", "<classification>", "<label0>", "<label1>")
    assert [column.name for column in task.input_columns] == ["text", "text_pair"]
    # exp(2 / 2) : exp(0)
    assert task.probabilities({"a": -3.0, "b": -1.0}) == {"b": 0.731059, "a": 0.268941}


def test_nsmc_as_it_lies_on_github(tmp_path):
    path = tmp_path / "ratings_train.txt"
    path.write_text('id\tdocument\tlabel\n1\t"재미있다\t1\n2\t지루하다\t0\n3\t\t0\n4\t"또" 본다\t1\n', "utf-8")
    examples, found = load_examples(
        get_task("classify"), DataArguments(validation_file=str(path)), seed=1, splits=("validation",)
    )
    assert [(e.source_text, e.references) for e in examples["validation"]] == [
        ('"재미있다', ("1",)), ("지루하다", ("0",)), ('"또" 본다', ("1",)),
    ]  # fmt: skip
    assert found["validation"] == {"rows": 3, "rows_without_text": 1, "label 1": 2, "label 0": 1}


def run_data(tmp_path, training_args, task="classify", **flags):
    rows = [row(label) | {"text": f"글 {n}"} for n, label in enumerate("abab")]
    path = str(write_rows(tmp_path / "rows.jsonl", rows))
    return RunData(get_task(task), DataArguments(train_file=path, validation_file=path, **flags), training_args)


class Arguments:
    seed, do_train = 1, True


def test_labels_are_known_before_the_encoder(tmp_path):
    assert run_data(tmp_path, Arguments()).task.label_words == {"a": "<label0>", "b": "<label1>"}
    mapped = run_data(tmp_path, Arguments(), column_map="label=label,text=text,text_pair=id")
    assert [column.name for column in mapped.task.input_columns] == ["text", "text_pair"]


def test_without_training_there_are_no_labels_to_learn(tmp_path):
    class Measured(Arguments):
        do_train = False

    with pytest.raises(UserError, match=r"takes its labels from the training rows.*evaluate_model\.py"):
        run_data(tmp_path, Measured())


def test_other_tasks_have_labels_of_their_own(tmp_path):
    with pytest.raises(UserError, match=r"^--label_words: nli learns no labels from its rows; leave it out$"):
        run_data(tmp_path, Arguments(), task="nli", label_words="a=b", column_map="premise=text,hypothesis=id")


@pytest.mark.parametrize(("given", "read"), [(None, "refs/convert/parquet"), ("other", "other")])
def test_the_default_dataset_is_read_at_its_revision(monkeypatch, given, read):
    labels = datasets.ClassLabel(names=["negative", "positive"])
    features = datasets.Features({"id": datasets.Value("string"), "document": datasets.Value("string"), "label": labels})
    part = datasets.Dataset.from_dict({"id": ["1"], "document": ["재미있다"], "label": [1]}, features=features)
    calls = []

    def load_dataset(*arguments, **more):
        calls.append((*arguments, more["revision"]))
        return datasets.DatasetDict(train=part, test=part)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = find_source(
        get_task("classify"), DataArguments(dataset_revision=given, dataset="e9t/nsmc" if given else None), ("train",)
    )
    assert calls == [("e9t/nsmc", None, read)]
    assert source.load("validation").data[0] == {"text": "재미있다", "label": "positive", "where": "e9t/nsmc test row 1"}


def test_titles_of_ynat_are_texts():
    columns = resolve_columns(get_task("classify"), ["guid", "title", "label", "url", "date"], {}, "klue/klue train")
    assert columns == {"text": "title", "label": "label"}


@pytest.mark.parametrize("form", ["tokens", "words"])
def test_many_labels_are_scored_as_one_by_one(kogpt2_folder, form):
    """More labels than are scored at a time, of several tokens, and 1 begins 10 to 19."""
    task = learnt(*range(1, 21), 1, form=form)
    arguments = model_args(kogpt2_folder)
    encoder = open_encoder(task, arguments, GenerationArguments())
    model = open_model(task, arguments, encoder).eval()
    predictor = Predictor(task, model, encoder, encoder.settings)
    examples = [task.input_example(row("1", text)) for text in ("비가 온다.", "민준이는 도서관에서 책을 빌렸다.")]
    eos = [encoder.tokenizer.eos_token_id] if form == "words" else []
    for example, prediction in zip(examples, predictor.predict(examples)):
        (prompt,) = encoder.prompts([example])[0]
        assert list(prediction.scores) == [str(n) for n in range(1, 21)]
        for label, score in prediction.scores.items():
            answer = encoder.completions([task.label_words[label]])[0] + eos
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            assert score == pytest.approx(logits.log_softmax(-1)[range(len(answer)), answer].sum().item(), abs=1e-4)


def test_words_that_are_one_to_the_tokenizer_are_refused(kogpt2_folder):
    task = learnt("1", "\u2460", "1", form="words")  # a circled 1, which NFKC makes a plain one
    with pytest.raises(
        UserError, match=r"^the labels '1' and '\u2460' are both '1' to this tokenizer; give them other words"
    ):
        open_encoder(task, model_args(kogpt2_folder), GenerationArguments())


def test_a_long_label_keeps_its_room(kogpt2_folder):
    encoder = open_encoder(
        learnt("가나다라마바사아자차카타파하", "a", "a", form="words"), model_args(kogpt2_folder), GenerationArguments()
    )
    assert encoder.max_new_tokens == encoder.settings["max_new_tokens"] > 8


def test_a_model_without_labels_says_so(kogpt2_folder):
    with pytest.raises(UserError, match="no labels are known, since classify takes them from the training rows"):
        load_predictor(model_args(kogpt2_folder), GenerationArguments(), task_name="classify")
