"""A classification head: what it reads, learns and answers, beside stock transformers on one row at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks import get_task
from tasks.arguments.generation import GenerationArguments
from tasks.errors import UserError
from tasks.inference.predicting import Predictor
from tasks.model.loading import open_encoder, open_model
from tasks.model.model_files import make_portable
from tasks.model.speedups import head_on_labels_only
from tasks.training.collator import CompletionCollator, PaddingFreeCollator
from tests.conftest import model_args

LAYOUTS = ["kogpt2", "gpt2", "llama", "neox"]
TEXTS = ["비가 온다.", "참", "민준이는 도서관에서 책을 빌렸다. 서연이는 공원에서 자전거를 탔다."]
LABELS = ["긍정", "부정", "모름"]


def opened(folder: str, name: str = "classify", pair: bool = False):
    """The task, its encoder and a model with a new head, whose weights make a difference."""
    task = get_task(name)
    task.head = True
    if task.learns_labels:
        task.use_columns("text_pair=b" if pair else None)
        task.learn_labels([*LABELS, "긍정"], None, "words")
    encoder = open_encoder(task, model_args(folder), GenerationArguments())
    model = open_model(task, model_args(folder), encoder).eval()
    torch.nn.init.normal_(model.score.weight)
    return task, encoder, model


def row(task, n: int, text: str, label: str):
    names = [column.name for column in (*task.input_columns, *task.target_columns)]
    return {"id": str(n)} | dict(zip(names, [text, *["비가 온다."] * (len(names) - 2), label]))


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.getfixturevalue(f"{request.param}_folder")


def test_right_padded_rows_are_answered_as_one_by_one_at_their_last_token(layout):
    task, encoder, model = opened(layout)
    assert model.config.id2label == {0: "긍정", 1: "모름", 2: "부정"}  # as sorted
    assert model.config.pad_token_id == encoder.tokenizer.pad_token_id
    examples = [task.input_example(row(task, n, text, "긍정")) for n, text in enumerate(TEXTS)]
    together = Predictor(task, model, encoder, encoder.settings).predict(examples)
    for example, prediction in zip(examples, together):
        (prompt,) = encoder.prompts([example])[0]
        assert prompt[-1] == encoder.separator_id("<classification>")
        with torch.no_grad():
            last = model.score(model.base_model(torch.tensor([prompt]))[0][0, -1]).log_softmax(-1)
        assert list(prediction.scores.values()) == pytest.approx(last.tolist(), abs=1e-5)
        assert prediction.text == model.config.id2label[last.argmax().item()]
    assert len({tuple(prediction.scores.values()) for prediction in together}) == 3


@pytest.mark.parametrize("padding_free", [False, True])
def test_the_loss_is_that_of_stock_transformers_on_single_rows(layout, padding_free):
    task, encoder, model = opened(layout)
    examples = [task.format(row(task, n, text, label)) for n, (text, label) in enumerate(zip(TEXTS, LABELS))]
    expected = []
    with torch.no_grad():
        for example, number in zip(examples, (0, 2, 1)):
            (prompt,) = encoder.prompts([example])[0]
            expected.append(cross_entropy(model(torch.tensor([prompt])).logits, torch.tensor([number])).item())
    rows = encoder.training_rows(examples)
    assert [row["labels"][-1] for row in rows] == [0, 2, 1]
    batch = (PaddingFreeCollator if padding_free else CompletionCollator)(encoder.tokenizer)(rows)
    assert head_on_labels_only(model)
    with torch.no_grad():
        found = model(**batch, use_cache=False).loss.item()
    assert found == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_a_label_that_training_lacks_counts_in_no_loss(kogpt2_folder):
    task, encoder, _ = opened(kogpt2_folder)
    (found,) = encoder.training_rows([task.format(row(task, 1, "참", "새것"))])
    assert set(found["labels"]) == {-100}


@pytest.mark.parametrize(("name", "pair"), [("classify", False), ("classify", True), ("nli", False)])
def test_a_stock_tokenizer_makes_the_prompt_by_itself(layout, name, pair, tmp_path):
    task, encoder, model = opened(layout, name, pair)
    model.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    make_portable(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        example = task.input_example(row(task, 1, text, ""))
        texts = [text, "비가 온다."][: 1 + (pair or name == "nli")]
        assert [plain(*texts).input_ids] == encoder.prompts([example])[0]
    # A saved head is taken as it is, and only for the same labels.
    again = open_model(task, model_args(str(tmp_path)), open_encoder(task, model_args(str(tmp_path)), GenerationArguments()))
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(again.score.weight, model.score.weight)
    assert torch.equal(stock.score.weight, model.score.weight)
    if name == "classify":
        task.learn_labels(["다른", "것", "것"], None, "words")
        with pytest.raises(
            UserError, match="its classification head knows 긍정, 모름, 부정, and the rows have 것, 다른; take"
        ):
            open_model(task, model_args(str(tmp_path)), encoder)
