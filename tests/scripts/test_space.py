"""publish.py --space against the Hub of the tests: what the Space holds, that it answers, and what is refused."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
import yaml

from tasks.inference import load
from tasks.showing import space
from tests.conftest import ROOT
from tests.helpers.hub_server import ME, hub_env
from tests.scripts.conftest import ROWS

pytest_plugins = ["tests.helpers.hub_fixtures"]

COMMAND = ("--repo_id", "me/x", "--license", "apache-2.0", "--space")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built once."""
    folder = tmp_path_factory.mktemp("wheel")
    return folder / space.build_wheel(folder)


@pytest.fixture
def release(hub, finished, wheel, run_script, monkeypatch):
    """``release(...)``: publish a finished run with its Space, without the check that loads it in a new process."""
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda run, staged: None)
    monkeypatch.setattr(space, "build_wheel", lambda folder: shutil.copy(wheel, folder).rsplit("/", 1)[-1])
    return lambda *more: run_script("publish", finished("nli"), *COMMAND, *more)


def test_a_space_shows_the_commit_that_was_published(hub, release, finished, tmp_path, monkeypatch):
    done = release()
    assert done.code == 0, done.stderr
    url = f"{hub.url}/spaces/me/x"
    said = f"me/x is private: give its Space a secret HF_TOKEN that may read it ({url}/settings)"
    assert done.stdout.splitlines()[-2:] == [url, said]
    repo, commit = hub.repo("spaces/me/x"), hub.repo("me/x").head.id
    files = repo.head.files
    names = {"app.py", "requirements.txt", "README.md", "korean_causal_lm_tasks-0.1.0-py3-none-any.whl"}
    assert repo.private and set(files) == names | {".gitattributes"}
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert (card["sdk"], card["app_file"], card["models"]) == ("gradio", "app.py", ["me/x"])
    pins = dict(line.split("==") for line in files["requirements.txt"].decode().splitlines())
    assert pins["gradio"] == str(card["sdk_version"]) and {"torch", "transformers", "tokenizers"} <= set(pins)
    assert "pytest" not in pins and "+" not in pins["torch"]
    assert f'page_of(load("me/x", model_revision="{commit}"))' in files["app.py"].decode()

    for name in names:  # as the Space: it builds its page from the model on the Hub
        (tmp_path / name).write_bytes(files[name])
    monkeypatch.setattr(sys, "path", [*sys.path])
    page = runpy.run_path(str(tmp_path / "app.py"), run_name="app")["page"]
    row = {key: ROWS["nli"][0][key] for key in ("premise", "hypothesis")}
    *_, (_, written, _) = page.answer(None, *row.values())
    assert written == load(str(finished("nli")))(row)
    assert (tmp_path / "package" / "tasks" / "showing" / "words.yaml").is_file()

    commits = len(repo.commits)
    again = release()
    assert again.code == 0 and len(repo.commits) == commits, again.stderr


def test_a_public_space_and_an_older_wheel_that_goes(hub, release):
    hub.add_repo("spaces/me/x", {"app.py": b"", "README.md": space.MADE_BY.encode(), "old.whl": b"zip"}, private=True)
    done = release("--hub_public")
    assert done.code == 0 and "is private" not in done.stdout, done.stderr
    assert not hub.repo("spaces/me/x").private and "old.whl" not in hub.repo("spaces/me/x").head.files


def test_what_is_refused_before_anything_is_sent(hub, release):
    hub.add_repo("spaces/me/x", {"app.py": b"print()", "README.md": b"mine"}, private=True)
    assert release().error == "me/x is a Space that these scripts did not make; choose another --repo_id"
    assert release("--create_pr").error.startswith("--space shows a model that is on the Hub")
    assert "me/x" not in hub.repos


def test_a_failure_names_the_command_with_the_space(hub, release):
    hub.fail("commit", 403, message="no")
    failed = release()
    assert failed.code == 2 and failed.stderr.splitlines()[-1].endswith(" --space")


def test_a_dry_run_shows_the_files_and_needs_no_hub(release):
    done = release("--dry_run")
    assert done.code == 0 and 'load("me/x", model_revision="main")' in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1].startswith("nothing was sent: this is what the Space me/x would get")


def test_a_wheel_needs_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.__file__", str(tmp_path / "tasks" / "__init__.py"))
    with pytest.raises(space.UserError, match="is no checkout of this project"):
        space.build_wheel(tmp_path)


def test_the_wheel_has_no_time_of_its_own_and_holds_no_secret(wheel, release, monkeypatch, hub):
    with zipfile.ZipFile(wheel) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}

    def with_secret(folder):
        with zipfile.ZipFile(shutil.copy(wheel, folder), "a") as archive:
            archive.writestr("tasks/mine.py", f"token = '{ME}'")
        return wheel.name

    monkeypatch.setattr(space, "build_wheel", with_secret)
    assert "tasks/mine.py holds what looks like a secret" in release().error
    assert "spaces/me/x" not in hub.repos


@pytest.mark.slow
def test_the_space_starts_in_an_environment_of_its_own(hub, release, tmp_path):
    """An environment that has the requirements and not this project: `python app.py` serves the page."""
    assert release().code == 0
    for name, content in hub.repo("spaces/me/x").head.files.items():
        (tmp_path / name).write_bytes(content)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "-r", tmp_path / "requirements.txt"]
    subprocess.run(install, check=True)
    env = hub_env(hub, ME, tmp_path / "home") | {"GRADIO_SERVER_PORT": "7999"}
    with subprocess.Popen([python, "app.py"], cwd=tmp_path, env=env) as process:
        try:
            ask = f"""
import time
from gradio_client import Client
for _ in range(100):
    try:
        client = Client("http://127.0.0.1:7999", verbose=False)
        break
    except Exception:
        time.sleep(2)
import json
print(json.dumps(client.predict(*{list(ROWS["nli"][0].values())[:2]!r}, api_name="/answer")[1]))
"""
            done = subprocess.run([python, "-c", ask], capture_output=True, text=True, timeout=300, check=True)
        finally:
            process.terminate()
    assert json.loads(done.stdout)["prediction"] in ("entailment", "neutral", "contradiction")
