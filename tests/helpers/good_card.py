"""A model card that lint has nothing to say about, to be spoiled by the tests of lint."""

from __future__ import annotations

from tasks.publishing.lint import lint_card

CARD = """\
---
language: ko
license: cc-by-nc-sa-4.0
library_name: transformers
pipeline_tag: text-generation
base_model: skt/kogpt2-base-v2
base_model_relation: finetune
datasets:
- klue/klue
tags:
- korean
- nli
model-index:
- name: kogpt2-nli
  results:
  - task:
      type: text-classification
    dataset:
      name: KLUE NLI
      type: klue/klue
    metrics:
    - type: accuracy
      value: 0.71
    - type: f1
      value: 1
---
<!-- model card sections: summary, usage; the text is written anew -->

<!-- generated:summary do not edit -->
# kogpt2-nli

## Usage

Prompt: `premise <sep> hypothesis <nli> label </s>`, at most 1/2 of it.

```python
from transformers import pipeline

print(pipeline("text-generation", model="me/kogpt2-nli")("비가 온다.<sep>"))  # # no heading
```
<!-- /generated:summary -->

## Loss

![loss](loss.png "Loss")
"""


def findings(text: str, **more) -> list[str]:
    """What lint says; the name of the file is left out where a line is named."""
    return [finding.removeprefix("README.md ") for finding in lint_card(text, **more)]
