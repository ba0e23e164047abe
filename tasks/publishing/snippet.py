"""The usage example of a card: a program of stock transformers that runs as it is printed, from model_cards/usage.jinja."""

from __future__ import annotations

import json

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from tasks.base import BOS, Part, Separator, Source, Task
from tasks.publishing.report import RunReport

#: Of cards and their programs; a template of the user's may come from anybody.
TEMPLATES = SandboxedEnvironment(
    loader=PackageLoader("model_cards", ""), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    keep_trailing_newline=True,
)  # fmt: skip

#: The settings of a model that samples.
SAMPLING = ("top_k", "top_p", "temperature")


def usage_snippet(task: Task, report: RunReport, model_id: str) -> str | None:
    """The program for the task's usage example; None if the task has none.

    It tokenizes a prompt part by part, as training did: tokens must not cross the parts, and ``</s>`` in a document is text.
    """
    if not task.usage_example:
        return None
    config = report.config
    example = {column.name: task.usage_example[column.name] for column in task.input_columns}
    parts = task.prompt(example)
    first = [] if parts[0] == BOS or not report.adds_bos else ["[tokenizer.bos_token_id]"]
    if task.conversational:
        messages = [{"role": role, "content": text} for role, text in parts[0].messages]
        lines = [
            f"messages = {json.dumps(messages, ensure_ascii=False)}",
            "encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)",
            'prompt = encoded["input_ids"]',
        ]
    else:
        names = {value: name for name, value in example.items()}
        code = [_expression(part, names) for part in parts]
        lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in example.items()]
        cut = None if config.head else next((i for i, part in enumerate(parts) if isinstance(part, Source)), None)
        if config.head:
            pass  # the tokenizer makes the prompt
        elif cut is None:
            lines.append(f"prompt = {' + '.join(first + code)}")
        else:
            room = config.max_length - config.max_new_tokens - len(first)
            lines.append(f"rest = {' + '.join(code[cut + 1 :])}")
            source = f"{code[cut]}[: {room} - len(rest)]"
            lines.append(f"prompt = {' + '.join([*first, *code[:cut], source])} + rest")
    labels = config.label_words if task.output_type == "multiple_choice" else None
    has_tokens = any(isinstance(word, Separator) for word in task.label_words.values())
    # Of several tasks the generation_config.json of the folder fits one.
    kept = ("max_new_tokens", "num_beams", "do_sample", *SAMPLING * bool(config.generation.get("do_sample")))
    settings = {name: config.generation[name] for name in kept if report.prefix and name in config.generation}
    label_ids = "[tokenizer.convert_tokens_to_ids(word)]" if has_tokens else "encode(word)"
    label_ids += " + [tokenizer.eos_token_id]" if task.learns_labels and not has_tokens else ""
    return (
        TEMPLATES.get_template("usage.jinja")
        .render(
            adapter=report.adapter,
            model_id=json.dumps(model_id, ensure_ascii=False),
            prompt=lines,
            encodes=not task.conversational,
            words=labels and json.dumps(labels, ensure_ascii=False),
            head=config.head,
            inputs=dict(zip(example, ("text", "text_pair"))),
            longest=config.max_length - config.max_new_tokens,
            label_ids=label_ids,
            temperature=config.temperature,
            changes_letters=report.changes_letters,
            continues=parts[0] == BOS,
            settings="".join(f", {name}={value}" for name, value in settings.items()),
        )
        .rstrip("\n")
    )


def _expression(part: Part, names: dict[str, str]) -> str:
    """The Python expression of a part's token ids."""
    if part == BOS:
        return "[tokenizer.bos_token_id]"
    if isinstance(part, Separator):
        return f'[tokenizer.convert_tokens_to_ids("{part}")]'
    return f"encode({names[part.text if isinstance(part, Source) else part]})"
