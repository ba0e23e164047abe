"""Korean fine-tuning tasks for causal language models. A new task is one file here and one line in ``TASKS``."""

from tasks import distributed, progress
from tasks.base import Task
from tasks.errors import UserError
from tasks.generate import Generate
from tasks.nli import NLI
from tasks.qa import QA
from tasks.scratch import Scratch
from tasks.summarize import Summarize

distributed.silence_all_but_first()  # here, before any library is imported that reads its switches then
progress.quiet_bars()

TASKS: dict[str, Task] = {task.name: task for task in (Generate(), Summarize(), NLI(), QA(), Scratch())}


def get_task(name: str) -> Task:
    """The task called ``name``. Raises UserError on a name that is not there."""
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[name]
