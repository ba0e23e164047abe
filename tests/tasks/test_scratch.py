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
    assert TASK.separators == ("<summarize>", "<sep>", "<nli>", "<question>", "<answer>")
    assert set(TASK.separators) == {separator for task in TASKS.values() for separator in task.separators}


def test_no_two_tasks_share_a_separator():
    all_of_them = [s for task in TASKS.values() if task is not TASK for s in task.separators]
    assert len(all_of_them) == len(set(all_of_them))
