"""How a mistake of the user, Ctrl-C and a full disk end."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from tasks.errors import Interrupted, UserError, user_errors
from tests.conftest import ROOT
from tests.helpers.launching import ENVIRONMENT

#: Run a script as a user does, and press Ctrl-C in the middle of ``import torch``.
CTRL_C = f"""
import os, runpy, signal, sys

class Finder:
    def find_spec(name, *_):
        if name == "torch.nn":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder)
sys.argv = ["run_nli.py", "--sample_data"]
runpy.run_path({str(ROOT / "scripts" / "run_nli.py")!r}, run_name="__main__")
"""


def ends(capsys, error):
    with pytest.raises(SystemExit) as leave, user_errors():
        raise error
    return leave.value.code, capsys.readouterr().err


def test_a_mistake_is_one_line_and_exit_code_2(capsys):
    assert ends(capsys, UserError("train.csv line 3:\n  no text")) == (2, "error: train.csv line 3: no text\n")


def test_ctrl_c_says_how_things_stand(capsys):
    code, stderr = ends(capsys, KeyboardInterrupt())
    assert code == 130
    assert stderr == "error: interrupted; nothing more was written, and what was there before is as it was\n"


def test_ctrl_c_after_a_checkpoint_says_how_to_go_on(capsys):
    assert ends(capsys, Interrupted("go on with: x")) == (130, "error: go on with: x\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_full_or_closed_disk_is_a_mistake_with_its_file(capsys, number):
    code, stderr = ends(capsys, OSError(number, "no room", "out/model.safetensors"))
    assert code == 2
    assert stderr.startswith("error: out/model.safetensors: no room; free some space")


@pytest.mark.parametrize(
    "message",
    [
        # What safetensors and torch.save raise on a full disk, which is when most of a run's bytes are written.
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/3: file write failed",
        "[enforce fail at inline_container.cc:672] . unexpected pos 253696 vs 253584",
    ],
)
def test_a_full_disk_is_known_by_what_safetensors_and_torch_say(capsys, message):
    code, stderr = ends(capsys, RuntimeError(message))
    assert code == 2
    assert stderr.startswith(f"error: a file could not be written ({message}); free some space")


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EIO, "input/output error"), RuntimeError("x")])
def test_a_defect_keeps_its_traceback(error):
    with pytest.raises(type(error)), user_errors():
        raise error


def test_a_reader_that_left_is_nothing_wrong(monkeypatch):
    closed = []
    monkeypatch.setattr("sys.stderr", type("Stream", (), {"close": lambda self: closed.append(1)})())
    with pytest.raises(SystemExit) as leave, user_errors():
        raise BrokenPipeError
    assert leave.value.code == 0


def test_without_an_error_nothing_happens(capsys):
    with user_errors():
        pass
    assert capsys.readouterr().err == ""


def run(code, folder):
    """Run ``code`` as the main module of a new process in ``folder``."""
    options = {"cwd": folder, "env": ENVIRONMENT, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run([sys.executable, "-c", code], check=False, **options)


def test_ctrl_c_while_torch_is_imported_is_one_line_and_exit_code_130(tmp_path):
    done = run(CTRL_C, tmp_path)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "error: interrupted; nothing more was written, and what was there before is as it was\n"
    assert list(tmp_path.iterdir()) == []


def test_a_defect_of_a_script_keeps_its_traceback_and_exit_code_1(tmp_path):
    code = "from tasks.errors import handle_errors\nhandle_errors(__name__)\nraise ZeroDivisionError('a defect')"
    done = run(code, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("ZeroDivisionError: a defect\n")
