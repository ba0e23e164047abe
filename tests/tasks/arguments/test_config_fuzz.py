"""--config files of any content: the flags that they hold, or one line; never the memory that aliases stand for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import strategies as st

from tasks.arguments.command_line import _with_config
from tasks.errors import UserError
from tests.helpers.fuzz import EXAMPLES, deadline, fuzz, is_writable, json_values, rows_or_error, texts

LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


def flags(path, content: str | bytes) -> list[str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return _with_config(["--config", str(path)])[:-2]


@EXAMPLES
@pytest.mark.parametrize("name", ["run.yaml", "run.json", "run.txt"])
def test_any_content(examples, name, tmp_path):
    import yaml

    path = tmp_path / name
    mappings = st.dictionaries(texts | st.sampled_from(["model", "seed"]), json_values, max_size=3)
    signs = st.sampled_from([*":-[]{}|'\"#%@?,1 \n\0", "a", "&x", "*x", "!!python/none", "<<", "2020-01-01"])
    contents = (
        mappings.map(json.dumps)
        | mappings.map(lambda v: yaml.safe_dump(v, allow_unicode=True))
        | texts
        | st.lists(signs, max_size=20).map("".join)
    )

    @fuzz(examples, content=contents | st.binary(max_size=20))
    def check(content):
        found, _ = rows_or_error(lambda: flags(path, content), f"--config {path}: ")
        assert found is None or all(isinstance(flag, str) and is_writable(flag) for flag in found)


@EXAMPLES
def test_a_mapping_is_read_as_it_was_written(examples, tmp_path):
    names = st.sampled_from(["model", "seed", "bf16", "train_file"])
    values = st.integers() | st.booleans() | texts.filter(is_writable)

    @fuzz(examples, settings=st.dictionaries(names, values, min_size=1))
    def check(settings):
        import yaml

        expected = [piece for name, value in settings.items() for piece in (f"--{name}", str(value))]
        assert flags(tmp_path / "run.json", json.dumps(settings)) == expected
        assert flags(tmp_path / "run.yaml", yaml.safe_dump(settings, sort_keys=False)) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("run.yaml", LAUGHS, "line 2: write the value instead of the alias *a"),
        ("run.yaml", "a: &a {model: x}\n<<: *a\n", "line 2: write the value instead of the alias *a"),
        ("run.yaml", "seed: 1\nseed: 2\n", "'seed' stands there twice; leave one out"),
        ("run.json", '{"seed": 1, "seed": 2}', "'seed' stands there twice; leave one out"),
        ("run.yaml", "a: " + "[" * 30_000, "nested too deeply; it must hold `name: value` lines"),
        ("run.json", "[" * 60_000, "nested too deeply; it must hold `name: value` lines"),
        ("run.yaml", "seed: " + "1" * 5000, "Exceeds the limit"),
        ("run.yaml", 'model: "a\\0b"', "'a\\x00b' holds a NUL character, as character 2; remove it"),
        ("run.json", '{"model": "\\ud83d"}', "'\\ud83d' holds half of a surrogate pair (such as \\ud83d), as character 1"),
        ("run.yaml", "model: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("run.yaml", "#" * 70_000, "larger than 65,536 bytes; it must hold `name: value` lines"),
    ],
)
def test_what_a_config_may_not_hold(tmp_path, name, content, expected):
    with deadline(60), pytest.raises(UserError) as caught:
        flags(tmp_path / name, content)
    assert str(caught.value).startswith(f"--config {tmp_path / name}: ")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_devices_and_pipes_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "run.yaml")
    for path in (tmp_path / "run.yaml", "/dev/zero"):
        with deadline(10), pytest.raises(UserError, match=r"no such file"):
            _with_config(["--config", str(path)])


def test_a_billion_laughs_end_in_one_line_and_little_memory(tmp_path):
    (tmp_path / "run.yaml").write_text(LAUGHS)
    program = (
        "import resource\n"
        "from tasks.errors import user_errors\n"
        "from tasks.arguments.command_line import _with_config\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    with user_errors():\n"
        "        _with_config(['--config', 'run.yaml'])\n"
        "finally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.getcwd()}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, int(done.stdout) < 50_000) == (2, True), done.stderr  # kilobytes
