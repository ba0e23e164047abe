"""From scratch is ``generate`` with a tokenizer for every task to come."""

from __future__ import annotations

from tasks import TASKS, get_task

TASK = get_task("scratch")


def test_it_reads_and_measures_as_generate_does():
    row = {"id": "1", "text": "비가 온다."}
    assert TASK.format(row) == get_task("generate").format(row)
    assert (TASK.main_metric, TASK.output_type) == ("bits_per_character", "loglikelihood")
    assert TASK.metrics == get_task("generate").metrics


def test_it_holds_the_separators_of_every_task():
    # A new task's come last: those of tokenizers that were trained before stay where they are.
    assert TASK.separators[:5] == ("<summarize>", "<sep>", "<nli>", "<question>", "<answer>")
    assert set(TASK.separators) == {separator for task in TASKS.values() for separator in task.separators}
    assert len(set(TASK.separators)) == len(TASK.separators)


def test_its_sample_is_the_texts_of_the_others_that_offer_theirs():
    first, *_ = [*TASK.sample_texts.items()]
    assert first == ("generate", ("text",))
    offered = {name: task.corpus_columns for name, task in TASKS.items() if task.corpus_columns}
    assert TASK.sample_texts == offered
    assert offered | {
        "summarize": ("document", "summary"), "nli": ("premise", "hypothesis"), "qa": ("context", "question"),
    } == offered  # fmt: skip


def test_it_needs_no_model():
    assert [name for name, task in TASKS.items() if task.from_scratch] == ["scratch"]
