"""What is wrong with the metadata of a model card, with the line of each. The Hub takes most of it in silence."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

import yaml
from huggingface_hub.utils import HFValidationError, validate_repo_id

from tasks.errors import UserError
from tasks.publishing.hub_names import BASE_MODEL_RELATIONS, LANGUAGE_CODES, LIBRARY_NAMES, PIPELINE_TAGS
from tasks.publishing.license import LICENSES, base_license, resolve_license
from tasks.publishing.secrets import excerpt

_LOCAL_FOLDERS = {"outputs", "output", "checkpoints", "runs", "results", "models", "data", "datasets"}
_LOCAL_FILES = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".safetensors", ".bin"}

_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_DEPTH = 20  # a result of model-index needs 6


class Metadata:
    """A YAML block while it is checked: ``found`` are the findings, as (line, message); lines count from 0.

    A finding about something that is missing has no line.
    """

    def __init__(self, block: str):
        self.found: list[tuple[int | None, str]] = []
        self._lines: dict[tuple, int | None] = {(): None}
        data = self._read(block)
        if data is not None:
            _check_license(self, data)
            _check_language(self, data)
            _check_names(self, data)
            _check_ids(self, data)
            _check_results(self, data)

    def say(self, message: str, *path: str | int) -> None:
        """Note a finding about what is at ``path``."""
        while path not in self._lines:
            path = path[:-1]
        self.found.append((self._lines[path], message))

    def _read(self, block: str) -> dict[str, Any] | None:
        """The block as a dict, None where it is none or goes beyond plain data."""
        try:
            if not self._is_plain(block):
                return None
            node = yaml.compose(block, Loader=yaml.SafeLoader)
            if not isinstance(node, yaml.MappingNode):
                what = "empty" if node is None else "no mapping"
                self.found.append((None, f"the metadata is {what}; write lines such as language: ko"))
                return None
            self._walk(node, ())
            data = None if self.found else yaml.safe_load(block)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error)
            self.found.append((mark.line if mark else None, f"the metadata is not YAML: {excerpt(problem, 100)}"))
            return None
        except Exception as error:  # the loader lets ValueError, KeyError, RecursionError and others of odd values through
            self.found.append((None, f"the metadata is not YAML: {excerpt(error or type(error).__name__, 100)}"))
            return None
        for key in data or ():
            if not isinstance(key, str):
                self.say(f"the key {excerpt(key)} is no text; put it in quotes")
        return data

    def _is_plain(self, block: str) -> bool:
        """Whether the block is without what makes a parser work without end: aliases and deep nesting."""
        depth = 0
        for token in yaml.scan(block):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if isinstance(token, yaml.AliasToken):  # they come from a dump of objects
                self.found.append((token.start_mark.line, "an alias (*) in the metadata; write the value out"))
                return False
            if depth > _DEPTH:
                self.found.append((token.start_mark.line, f"the metadata is nested more than {_DEPTH} levels deep"))
                return False
        return True

    def _walk(self, node: yaml.Node, path: tuple) -> None:
        if not node.tag.startswith("tag:yaml.org,2002:") or "python/" in node.tag:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.found.append((node.start_mark.line, f"the tag {excerpt(tag)}; write a plain number or text"))
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self._lines[(*path, i)] = item.start_mark.line
                self._walk(item, (*path, i))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._walk(key, path)
                inner = (*path, str(key.value) if isinstance(key, yaml.ScalarNode) else None)
                line = key.start_mark.line
                if isinstance(key, yaml.ScalarNode) and inner in self._lines:
                    self.found.append((line, f"the key {excerpt(key.value)} stands here a second time; keep one"))
                self._lines[inner] = line
                self._walk(value, inner)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _known(meta: Metadata, what: str, value: Any, names: Collection[str], *path: str | int) -> bool:
    """Whether ``value`` is one of ``names``; says so where it is not, and what may have been meant."""
    if isinstance(value, str) and value in names:
        return True
    close = difflib.get_close_matches(str(value)[:100].lower(), names, 1)
    meta.say(f"{what} {excerpt(value)} is unknown to the Hub" + (f"; is it {close[0]}?" if close else ""), *path)
    return False


def _check_license(meta: Metadata, data: dict[str, Any]) -> None:
    license = data.get("license")
    if license is None:
        meta.say("license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0", "license")
        return
    if not _known(meta, "license", license, LICENSES, "license"):
        return
    if license == "other":
        for key in ("license_name", "license_link"):
            if not _text(data.get(key)):
                meta.say(f"{key} is missing; license other needs it", key if key in data else "license")
    for base_model in _listed(data.get("base_model")):
        base = base_license(base_model) if isinstance(base_model, str) else None
        if base is None:
            continue
        try:
            resolve_license(base.license, license, None, base_model=base_model)
        except UserError as error:
            meta.say(f"license does not go with base_model: {error}", "license")


def _check_language(meta: Metadata, data: dict[str, Any]) -> None:
    languages = data.get("language")
    if languages is None or languages == []:
        meta.say("language is missing; write language: ko", "language")
        return
    for i, language in enumerate(_listed(languages)):
        path = ("language", i) if isinstance(languages, list) else ("language",)
        if isinstance(language, bool):
            meta.say('language: no is read as "false"; put it in quotes', *path)
        elif not isinstance(language, str) or language not in LANGUAGE_CODES:
            meta.say(f"language {excerpt(language)} is no ISO 639-1 code such as ko", *path)
    if "ko" not in _listed(languages):
        meta.say("language does not name ko, which every task here is about", "language")


def _check_names(meta: Metadata, data: dict[str, Any]) -> None:
    for key, names, example in (
        ("pipeline_tag", PIPELINE_TAGS, "text-generation"),
        ("library_name", LIBRARY_NAMES, "transformers"),
    ):
        if data.get(key) is None:
            meta.say(f"{key} is missing; write {key}: {example}", key)
        else:
            _known(meta, key, data[key], names, key)
    if "base_model_relation" in data:
        _known(meta, "base_model_relation", data["base_model_relation"], BASE_MODEL_RELATIONS, "base_model_relation")
        if not data.get("base_model"):
            meta.say("base_model_relation without base_model; name the base model or leave both out", "base_model_relation")
    tags = data.get("tags", [])
    if not isinstance(tags, list) or not all(_text(tag) for tag in tags):
        meta.say("tags is no list of texts; write one a line, as in - korean", "tags")


def _check_ids(meta: Metadata, data: dict[str, Any]) -> None:
    for key, example in (("base_model", "skt/kogpt2-base-v2"), ("datasets", "klue/klue")):
        if key not in data:
            continue
        values = _listed(data[key])
        if not values:
            meta.say(f"{key} is empty; name a Hub id such as {example} or leave it out", key)
        for i, value in enumerate(values):
            problem = _id_problem(value)
            if problem:
                path = (key, i) if isinstance(data[key], list) else (key,)
                meta.say(f"{key} {excerpt(value)} {problem}; name a Hub id such as {example} or leave it out", *path)


def _id_problem(value: Any) -> str | None:
    if not _text(value):
        return "is no text"
    if re.match(r"[a-z]{2,10}://", value):
        return "is a link"
    parts = PurePosixPath(value)
    if (
        re.match(r"[/~.]|[A-Za-z]:", value)
        or "\\" in value
        or (len(parts.parts) > 1 and parts.parts[0] in _LOCAL_FOLDERS)
        or re.fullmatch(r"checkpoint-\d+", parts.name)
        or parts.suffix in _LOCAL_FILES
    ):
        return "is a path on one machine"
    try:
        validate_repo_id(value)
    except HFValidationError:
        return "is no Hub id"
    return None


def _check_results(meta: Metadata, data: dict[str, Any]) -> None:
    if "model-index" not in data:
        return
    index = data["model-index"]
    if not isinstance(index, list) or not index:
        meta.say("model-index is no list of models; write - name: and results: under it, or leave it out", "model-index")
        return
    for i, entry in enumerate(index):
        path = ("model-index", i)
        if not isinstance(entry, dict):
            meta.say("an entry of model-index is no mapping with name and results", *path)
            continue
        if not _text(entry.get("name")):
            meta.say("an entry of model-index has no name", *path, "name")
        results = entry.get("results")
        if not isinstance(results, list) or not results:
            meta.say("an entry of model-index has no results; leave model-index out where there are none", *path, "results")
            continue
        for j, result in enumerate(results):
            _check_result(meta, result, (*path, "results", j))


def _check_result(meta: Metadata, result: Any, path: tuple) -> None:
    if not isinstance(result, dict):
        meta.say("a result of model-index is no mapping with task, dataset and metrics", *path)
        return
    for group, key in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
        part = result.get(group)
        value = part.get(key) if isinstance(part, dict) else None
        if not _text(value):
            meta.say(f"a result of model-index has no {group}.{key}", *path, group, key)
        elif group == "task":
            _known(meta, "task.type", value, PIPELINE_TAGS, *path, group, key)
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        meta.say("a result of model-index has no metrics", *path, "metrics")
        return
    for i, metric in enumerate(metrics):
        where = (*path, "metrics", i)
        if not isinstance(metric, dict) or not _text(metric.get("type")):
            meta.say("a metric of model-index has no type", *where)
            continue
        value = metric.get("value")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (isinstance(value, float) and not math.isfinite(value)):
            what = "no value" if value is None else f"the value {excerpt(value)}, which is no finite number"
            meta.say(f"the metric {excerpt(metric['type'])} has {what}", *where, "value")


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]
