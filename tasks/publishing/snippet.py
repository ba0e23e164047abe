"""The usage example of a card: a program of stock transformers that runs as it is printed."""

from __future__ import annotations

import json

from tasks.base import BOS, Part, Separator, Source, Task
from tasks.publishing.report import RunReport

_LOAD = """\
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model_id = {model_id}
tokenizer = AutoTokenizer.from_pretrained(model_id)
model = AutoModelForCausalLM.from_pretrained(model_id).eval()
"""

_LOAD_ADAPTER = """\
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, GenerationConfig

model_id = {model_id}
tokenizer = AutoTokenizer.from_pretrained(model_id)
model = AutoPeftModelForCausalLM.from_pretrained(model_id).eval()
model.generation_config = GenerationConfig.from_pretrained(model_id)
"""

_ENCODE = """

def encode(text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


"""

_WRITE = """\
input_ids = torch.tensor([prompt])
output = model.generate(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
print(tokenizer.decode(output[0, len(prompt):], skip_special_tokens=True).strip())"""

_CHOOSE = """\
words = {words}
scores = {{}}
for label, word in words.items():
    answer = encode(word)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    scores[label] = logits.log_softmax(-1)[range(len(answer)), answer].sum().item()
print(max(scores, key=scores.get))"""


def usage_snippet(task: Task, report: RunReport, model_id: str) -> str | None:
    """The program for the task's usage example; None where the task has none.

    It joins the ids of a prompt part by part, as training did: one tokenizer call over the whole text would merge
    differently at the seams, and would take a ``</s>`` inside of a document for the token.
    """
    if not task.usage_example:
        return None
    config = report.config
    parts = task.prompt(task.usage_example)
    names = {value: name for name, value in task.usage_example.items()}
    code = [_expression(part, names) for part in parts]
    cut = next((i for i, part in enumerate(parts) if isinstance(part, Source)), None)
    first = [] if parts[0] == BOS or not report.adds_bos else ["[tokenizer.bos_token_id]"]
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in task.usage_example.items()]
    if cut is None:
        lines.append(f"prompt = {' + '.join(first + code)}")
    else:
        room = config.max_length - config.max_new_tokens - len(first)
        lines.append(f"rest = {' + '.join(code[cut + 1 :])}")
        source = f"{code[cut]}[: {room} - len(rest)]"
        lines.append(f"prompt = {' + '.join([*first, *code[:cut], source])} + rest")
    words = json.dumps(config.label_words, ensure_ascii=False)
    answer = _CHOOSE.format(words=words) if task.output_type == "multiple_choice" else _WRITE
    load = (_LOAD_ADAPTER if report.adapter else _LOAD) + _ENCODE
    return load.format(model_id=json.dumps(model_id, ensure_ascii=False)) + "\n".join(lines) + "\n" + answer


def _expression(part: Part, names: dict[str, str]) -> str:
    """The Python expression of a part's token ids."""
    if part == BOS:
        return "[tokenizer.bos_token_id]"
    if isinstance(part, Separator):
        return f'[tokenizer.convert_tokens_to_ids("{part}")]'
    return f"encode({names[part.text if isinstance(part, Source) else part]})"
