"""No text may make lint raise, or take long. Pieces of cards reach deeper than characters do."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.publishing.lint import lint_card
from tests.helpers.fuzz import growth

PIECES = st.sampled_from(
    [
        "---", "\n", "\n", "```", "```python", "~~~", "`", "<!-- generated:a -->", "<!-- /generated:a -->", "<!--", "-->",
        "![", "](", ")", "<img src='", "{{", "}}", "(", "[", "{", "'", '"', "*a", "&a", "!!python/", "!!int", "? ", ": ",
        "\t", " ", "\0", "\u2028", "\x85", "\ufeff", "\ud800", "license", "language", "model-index", "name", "results",
        "0x_", "1e999", ".nan", "2024-99-99", "<<: ", "%YAML 9", "...", "hf_", "/home/", "token=", "@a.b", "- ", "# ",
    ]
)  # fmt: skip
TEXT = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["ko", "mit", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
KEYS = ["license", "language", "tags", "base_model", "datasets", "model-index", "pipeline_tag", "base_model_relation"]


def _findings(text: str) -> list[str]:
    """What lint finds, each in a line."""
    found = lint_card(text, folder="nowhere", repo_id="me/x")
    assert all("\n" not in finding for finding in found)
    return found


@settings(max_examples=150, deadline=None)
@given(TEXT)
def test_no_text_raises(text):
    _findings(text)


@settings(max_examples=150, deadline=None)
@given(TEXT)
def test_no_yaml_raises(text):
    _findings(f"---\n{text}\n---\nbody")


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_no_value_raises(data):
    assert _findings(f"---\n{yaml.safe_dump(data, allow_unicode=True)}---\nbody")


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_no_result_raises(value):
    for index in (
        [value],
        [{"name": "x", "results": value}],
        [{"name": "x", "results": [{"task": value, "metrics": [value]}]}],
    ):
        assert _findings(f"---\n{yaml.safe_dump({'model-index': index})}---\nbody")


@pytest.mark.parametrize(
    "text",
    [
        "![",
        "<!--",
        "<!-- generated:",
        "<img ",
        "# \n",
        "[",
        "{{a",
        "`",
        "```\n",
        "<your",
        "- ",
        "(",
        "a: {",
        "'",
        "\n",
        "작성 ",
    ],
)
def test_no_text_takes_long(text):
    assert growth(_findings, text, 2_000) < 24
    assert growth(lambda longer: _findings(f"---\n{longer}\n---\n"), text, 1_000) < 24
    assert growth(lambda longer: _findings(f"```python\n{longer}\n```\n"), text, 1_000) < 24
