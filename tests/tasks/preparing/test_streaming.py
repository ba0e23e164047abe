"""--streaming: the rows of a run in memory, read only as far as they are needed, each once."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.tokenizer import add_separators, load_tokenizer
from tasks.preparing import streaming
from tasks.preparing.encoding import Encoder
from tasks.preparing.run_data import RunData
from tasks.reading import sources
from tasks.reading.rows import Row
from tasks.training.checkpoints import fingerprint
from tests.conftest import model_args, write_rows

TEXTS = [f"{n} 민준이는 도서관에서 책을 빌렸다." for n in range(100)]
TEXTS[7] *= 9  # several sequences


@pytest.fixture
def open_data(kogpt2_folder):
    """The prepared rows of a run of generate, as its script asks for them."""
    arguments = model_args(kogpt2_folder)
    tokenizer, _ = add_separators(load_tokenizer(arguments, load_config(arguments)), ())
    encoder = Encoder(tokenizer, 32, 8)

    def run(path, streaming=True, rank=0, world=1, seed=42, task="generate", max_steps=10, **flags):
        training = SimpleNamespace(
            seed=seed, data_seed=None, max_steps=max_steps, process_index=rank, world_size=world, tokens_per_batch=None,
            dataloader_num_workers=0, include_num_input_tokens_seen="no",
        )  # fmt: skip
        data_args = DataArguments(train_file=path and str(path), streaming=streaming, **flags)
        data = RunData(get_task(task), data_args, training, ("train", "validation", "test"))
        data.encoder = encoder
        return data

    return run


@pytest.fixture
def validation(tmp_path):
    return write_rows(tmp_path / "validation.jsonl", [{"text": "서울은 대한민국의 수도이다."}])


@pytest.fixture
def shards(tmp_path):
    """Three files of 34, 33 and 33 rows, as a glob."""
    for number in range(3):
        write_rows(tmp_path / f"shard-{number}.jsonl", [{"text": text} for text in TEXTS[number::3]])
    return tmp_path / "shard-*.jsonl"


def one_pass(data, number=None):
    """The sequences of the first pass, as tuples."""
    stream = data.encode(data.encoder)[0]["train"]
    rows = itertools.islice(stream, number)
    if number is None:
        taken = []
        stream.read, read = lambda epoch: iter(()) if taken else (taken.append(epoch) or read(epoch)), stream.read
        rows = iter(stream)
    found = []
    try:
        for row in rows:
            found.append((tuple(row["input_ids"]), tuple(row["labels"])))
    except UserError as error:
        if "found no row" not in str(error):  # the second pass, which was emptied above
            raise
    return found


def in_memory(data):
    rows = data.encode(data.encoder)[0]["train"]
    return [(tuple(ids), tuple(labels)) for ids, labels in zip(rows["input_ids"], rows["labels"])]


def test_a_pass_is_the_rows_of_a_run_in_memory(open_data, shards, validation):
    expected = in_memory(open_data(shards, streaming=False, validation_file=validation))
    found = one_pass(open_data(shards, validation_file=validation))
    assert len(expected) > 100
    assert sorted(found) == sorted(expected)
    assert found != expected  # shuffled


@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv", "parquet"])
def test_every_type_of_file_is_streamed(open_data, validation, tmp_path, suffix):
    path = tmp_path / f"corpus.{suffix}"
    if suffix == "parquet":
        pyarrow.parquet.write_table(pa.table({"text": TEXTS}), path)
    else:
        path.write_text(("" if suffix == "txt" else "text\n") + "".join(f"{text}\n" for text in TEXTS), "utf-8")
    expected = in_memory(open_data(path, streaming=False, validation_file=validation))
    assert sorted(one_pass(open_data(path, validation_file=validation))) == sorted(expected)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_share_the_rows_out_and_lose_none(open_data, shards, validation, world):
    """Three files: each process has its own, or every world-th row of all."""
    whole = one_pass(open_data(shards, validation_file=validation))
    parts = [one_pass(open_data(shards, validation_file=validation, rank=rank, world=world)) for rank in range(world)]
    assert all(parts)
    assert sorted(itertools.chain(*parts)) == sorted(whole)


def test_the_order_follows_from_the_seed_and_differs_from_pass_to_pass(open_data, shards, validation):
    data = open_data(shards, validation_file=validation)
    length = len(one_pass(data))
    both = one_pass(open_data(shards, validation_file=validation), 2 * length)
    assert both == one_pass(open_data(shards, validation_file=validation), 2 * length)
    first, second = both[:length], both[length:]
    assert sorted(first) == sorted(second)
    assert first != second
    assert first != one_pass(open_data(shards, validation_file=validation, seed=7))


def test_rows_to_measure_on_are_drawn_and_never_trained_on(open_data, tmp_path):
    texts = [*TEXTS, *TEXTS[:50]]  # a text that is measured on is not trained on where it stands again either
    path = write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    data = open_data(path, max_eval_samples=5, validation_split=0.3)
    _, examples = data.encode(data.encoder)
    held = {example.completion for example in examples["validation"]}
    assert len(held) == len(examples["validation"]) == data.counts["validation"]["rows"] == 5
    assert held < set(TEXTS)
    assert held != set(TEXTS[:5])
    assert data.counts["validation"]["shared_with_train"] == 0
    trained = list(data.texts())
    assert set(trained) == set(TEXTS) - held
    assert len(trained) == len([text for text in texts if text not in held])
    again = open_data(path, max_eval_samples=5, validation_split=0.3, rank=1, world=2)
    assert {example.completion for example in again.encode(again.encoder)[1]["validation"]} == held
    other = open_data(path, max_eval_samples=5, validation_split=0.3, seed=7)
    assert {example.completion for example in other.encode(other.encoder)[1]["validation"]} != held


def test_another_spelling_of_a_row_that_was_drawn_is_not_trained_on(open_data, tmp_path):
    texts = [*TEXTS, *(unicodedata.normalize("NFD", text) + " " for text in TEXTS)]
    path = write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    data = open_data(path, max_eval_samples=5, validation_split=0.3)
    held = {example.completion for example in data.encode(data.encoder)[1]["validation"]}
    trained = [unicodedata.normalize("NFC", text).strip() for text in data.texts()]
    assert len(held) == 5
    assert len(trained) == 200 - 10 and not held & set(trained)


def test_of_rows_that_were_given_nothing_is_claimed(open_data, shards, validation, capsys):
    drawn = open_data(shards, max_eval_samples=5, test_file=validation)
    drawn.encode(drawn.encoder)
    given = open_data(shards, validation_file=validation)
    given.encode(given.encoder)
    assert "shared_with_train" not in given.counts["validation"]
    assert capsys.readouterr().out.splitlines() == [
        "rows to measure on that training reads too: 0 of 5 validation, test not counted",
        "rows to measure on that training reads too: validation not counted",
    ]


@pytest.fixture
def endless(monkeypatch):
    """A file endless.txt whose rows have no end; the list of what was read of it."""
    read = []
    original = sources.read_files

    def rows(paths, **flags):
        if Path(paths[0]).name != "endless.txt":
            yield from original(paths, **flags)
            return
        for number in itertools.count():
            read.append(number)
            yield Row({"text": f"{number} 책을 빌렸다."}, f"{paths[0]} line {number + 1}")

    monkeypatch.setattr(sources, "read_files", rows)
    return read


def test_no_more_is_read_than_the_buffer_and_the_batch_in_hand(open_data, endless, validation, tmp_path):
    path = tmp_path / "endless.txt"
    path.write_text("-\n")
    data = open_data(path, validation_file=validation, shuffle_buffer_size=50)
    stream = iter(data.encode(data.encoder)[0]["train"])
    assert not endless
    for _ in range(1000):
        next(stream)
    assert 1000 <= len(endless) <= 1000 + 50 + streaming.BATCH
    del endless[:]
    drawn = open_data(path, max_eval_samples=3, validation_split=0.5)
    drawn.encode(drawn.encoder)
    assert 3 <= len(endless) < 100


def test_bad_rows_are_named_or_skipped_and_counted(open_data, validation, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [{"text": "책을"}, {"text": ""}, {"text": "빌렸다."}])
    with pytest.raises(UserError, match=r"rows\.jsonl line 2: column 'text' is empty"):
        one_pass(open_data(path, validation_file=validation))
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"text"\n')
    data = open_data(path, validation_file=validation, skip_bad_rows=True)
    stream = data.encode(data.encoder)[0]["train"]
    list(itertools.islice(stream, 2))
    stream.fill_counts(9)
    expected = {"rows": 2, "skipped": 2, "skipped_no_text": 1, "skipped_damaged": 1}
    assert {name: stream.counts.get(name) for name in expected} == expected
    empty = write_rows(tmp_path / "empty.jsonl", [{"text": ""}])
    with pytest.raises(UserError, match="found no row to learn from"):
        next(iter(open_data(empty, validation_file=validation, skip_bad_rows=True).encode(data.encoder)[0]["train"]))


def test_columns_are_those_of_each_file(open_data, validation, tmp_path):
    write_rows(tmp_path / "a.jsonl", [{"content": "책을", "id": 1}])
    write_rows(tmp_path / "b.jsonl", [{"body": "빌렸다."}])
    assert len(one_pass(open_data(tmp_path / "a.jsonl", validation_file=validation))) == 1
    with pytest.raises(UserError, match=r"b\.jsonl: no column 'text'"):
        one_pass(open_data(tmp_path / "*.jsonl", max_eval_samples=1, validation_split=0.999))
    mapped = open_data(tmp_path / "b.jsonl", validation_file=str(tmp_path / "b.jsonl"), column_map="text=body")
    assert len(one_pass(mapped)) == 1


@pytest.fixture
def hub(monkeypatch):
    """A dataset of the Hub that is streamed; returns what load_dataset was asked for."""
    asked = []
    rows = datasets.Dataset.from_dict({"content": TEXTS, "url": ["-"] * len(TEXTS)})
    parts = {"train": rows.to_iterable_dataset(num_shards=2), "dev": rows.select(range(9)).to_iterable_dataset()}

    def load_dataset(name, config=None, revision=None, streaming=False):
        asked.append((name, streaming))
        return {split: data for split, data in parts.items() if name != "one/split" or split == "train"}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_a_hub_dataset_is_streamed(open_data, hub):
    data = open_data(None, dataset="some/corpus", max_eval_samples=4)
    _, examples = data.encode(data.encoder)
    assert hub == [("some/corpus", True)]
    assert [example.completion for example in examples["validation"]] == TEXTS[:4]
    assert list(data.texts()) == TEXTS  # the validation rows are those of another split
    assert len(one_pass(data)) > len(TEXTS)
    parts = [one_pass(open_data(None, dataset="some/corpus", max_eval_samples=4, rank=n, world=2)) for n in range(2)]
    assert sorted(itertools.chain(*parts)) == sorted(one_pass(data))
    drawn = open_data(None, dataset="one/split", max_eval_samples=4, validation_split=0.2)
    assert len(list(drawn.texts())) == len(TEXTS) - 4


def test_rows_of_the_hub_that_changed_are_noticed_without_a_commit(open_data, monkeypatch):
    def of(texts):
        parts = {split: datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset() for split in ("train", "dev")}
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **more: parts)
        data = open_data(None, dataset="some/corpus", max_eval_samples=4)
        return fingerprint(data.encode(data.encoder)[0]["train"])

    assert of(TEXTS) == of(TEXTS) != of([*TEXTS[:50], "다른 글이다.", *TEXTS[51:]])


def test_a_connection_that_is_lost_on_the_way_is_one_line(open_data, hub, monkeypatch):
    data = open_data(None, dataset="some/corpus", max_eval_samples=4)

    def lost():
        raise ConnectionError("reset by peer")
        yield

    monkeypatch.setattr(data._stream, "_train", lost())
    with pytest.raises(UserError, match="some/corpus"):
        list(data.texts())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"task": "nli"}, "--streaming: nli reads its rows into memory; it is for generate and scratch"),
        ({"max_steps": -1}, "say with --max_steps when to end"),
        ({}, "give --validation_file, or --max_eval_samples"),
        ({"max_train_samples": 5}, "--max_train_samples does not go with --streaming"),
        ({"path": None, "sample_data": True}, "leave it out with --sample_data"),
        ({"path": "corpus.json"}, r"corpus\.json: a json file can only be read as a whole"),
        ({"path": "gone.txt"}, r"there is no file .*gone\.txt"),
    ],
    ids=str,
)
def test_what_cannot_be_streamed_is_said_at_once(open_data, shards, tmp_path, flags, said):
    write_rows(tmp_path / "corpus.json", [{"text": "책을"}])
    path = flags.pop("path", "shard-*.jsonl")
    with pytest.raises(UserError, match=said):
        open_data(path and Path(tmp_path, path), **flags)
