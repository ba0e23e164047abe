"""Korean fine-tuning tasks for causal language models. A new task is one file here and one line in ``OTHERS``."""

import copy

from tasks import distributed, progress
from tasks.base import Separator, Task
from tasks.chat import Chat
from tasks.classify import Classify
from tasks.errors import UserError
from tasks.generate import Generate
from tasks.nli import NLI
from tasks.qa import QA
from tasks.run_folder import RunConfig
from tasks.scratch import Scratch
from tasks.summarize import Summarize

distributed.silence_all_but_first()  # here, before any library is imported that reads its switches then
progress.quiet_bars()
progress.set_up_logging()

#: A new task comes last: their order is that of the separators in a tokenizer from scratch.
OTHERS = (Generate(), Summarize(), NLI(), QA(), Classify(), Chat())
TASKS: dict[str, Task] = {task.name: task for task in (*OTHERS, Scratch(OTHERS))}


def get_task(name: str) -> Task:
    """A task object for a run, as ``TASKS`` has it. Raises UserError on a name that is not there."""
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}; the tasks are {', '.join(TASKS)}")
    return copy.copy(TASKS[name])


def task_of(run: RunConfig) -> Task:
    """The task of a trained model, with the labels and columns of its task.json. Raises UserError as ``get_task``."""
    task = get_task(run.task)
    # A label may have a token of its own, which task.json lists among the separators.
    words = {label: Separator(word) if word in run.separators else word for label, word in run.label_words.items()}
    task.label_words = words or task.label_words
    task.separators = tuple(dict.fromkeys((*task.separators, *(w for w in words.values() if isinstance(w, Separator)))))
    task.use_columns(run.column_map)
    task.column_map, task.temperature, task.head = run.column_map, run.temperature, run.head
    return task
