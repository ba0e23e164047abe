"""A Hugging Face Space that shows a published model: its files, and how they are sent."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from packaging.requirements import Requirement

import tasks
from tasks.errors import UserError
from tasks.publishing.hub import Destination, Hub, Remote
from tasks.publishing.refusals import Conflict
from tasks.publishing.release import Release, own_tokens, publish
from tasks.publishing.secrets import scan_file
from tasks.publishing.staging import check_secrets

#: Of the checkout, what a wheel is made of.
SOURCES = ("tasks", "model_cards", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
#: In the card of a Space that these scripts made (space.yaml).
MADE_BY = "`scripts/publish.py --space`"


def build_wheel(folder: Path) -> str:
    """Build the wheel of this project into ``folder``. Returns its name.

    Raises:
        UserError: this is no checkout, or pip cannot build it.
    """
    root = Path(tasks.__file__).parents[1]
    if not (root / "setup.cfg").is_file():
        raise UserError(f"--space: {root} is no checkout of this project, of which the Space carries a wheel; use a clone")
    with TemporaryDirectory() as name:  # a build leaves its own folders where it is made
        source = Path(name)
        for part in SOURCES:
            if (root / part).is_dir():
                shutil.copytree(root / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(root / part, source)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "-w", name, name]
        command += ["--no-build-isolation"] if find_spec("setuptools") else []
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            reason = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"--space: the wheel of this project could not be built ({reason}); pip install pip setuptools")
        wheel = next(source.glob("*.whl"))
        # Without the time of the build the same files make the same wheel, and it is not sent again.
        with zipfile.ZipFile(wheel) as built, zipfile.ZipFile(folder / wheel.name, "w", zipfile.ZIP_DEFLATED) as even:
            for member in sorted(built.namelist()):
                even.writestr(zipfile.ZipInfo(member), built.read(member), zipfile.ZIP_DEFLATED)
    return wheel.name


def pinned(wheel: Path, extras: Collection[str]) -> dict[str, str]:
    """{package: version here} of what the wheel and its ``extras`` require."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    wanted = [Requirement(line) for line in said]
    chosen = [one for one in wanted if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras)]
    try:
        return {one.name: metadata.version(one.name).partition("+")[0] for one in chosen}
    except metadata.PackageNotFoundError as error:
        raise UserError(f"--space: {error.name} is not installed; pip install -e '.[demo]'") from None


def stage_space(release: Release, repo_id: str, revision: str, place: Path) -> list[str]:
    """Put the files of the Space into the empty folder ``place``, scanned for secrets. Returns their names.

    ``repo_id`` and ``revision`` are those of the model.
    """
    wheel = build_wheel(place)
    versions = pinned(place / wheel, ("demo", "lora") if release.report.adapter else ("demo",))
    facts = {
        "repo_id": repo_id, "revision": revision, "wheel": wheel, "title": repo_id.rsplit("/", maxsplit=1)[-1],
        "gradio": versions["gradio"], "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }  # fmt: skip
    templates = yaml.safe_load(Path(__file__).with_name("space.yaml").read_text("utf-8"))
    texts = {name: template.format(**facts) for name, template in templates.items()}
    texts["requirements.txt"] = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
    for name, text in texts.items():
        (place / name).write_text(text, "utf-8")
    check_secrets(place, texts, own_tokens())
    with TemporaryDirectory() as name, zipfile.ZipFile(place / wheel) as archive:
        archive.extractall(name)
        for file in sorted(each for each in Path(name).rglob("*") if each.is_file()):
            if found := scan_file(file, own_tokens()):
                raise UserError(f"{file.relative_to(name)} holds what looks like a secret ({', '.join(found)}); take it out")
    return sorted([*texts, wheel])


def publish_with_space(release: Release, destination: Destination) -> str:
    """Send a run, and then the Space that shows the commit that arrived. Returns and prints the Space's address.

    Raises:
        UserError: as ``publish``; the Space's name is taken. Both are checked before anything is sent.
    """
    hub, task = Hub(), release.report.config.task
    try:
        target, remote = hub.preflight(Destination(destination.repo_id, destination.public, kind="space"), task)
        if "app.py" in remote.files and MADE_BY not in (remote.card or ""):
            raise UserError(f"{target.repo_id} is a Space that these scripts did not make; choose another --repo_id")
        publish(release, destination, hub)
        destination, model = hub.preflight(destination, task)
        with TemporaryDirectory(prefix="space-") as name:
            names = stage_space(release, destination.repo_id, str(model.head), Path(name))
            return _send(hub, replace(target, message=f"The page of {model.head}"), remote, Path(name), names, model.private)
    except UserError as error:
        raise UserError(str(error), resume=error.resume and f"{error.resume} --space") from None
    except Conflict:
        raise UserError(
            f"the Space {destination.repo_id} was changed by somebody else; run the same command again"
        ) from None


def _send(hub: Hub, target: Destination, remote: Remote, place: Path, names: list[str], private: bool) -> str:
    before, remote = remote, hub.prepare(target, remote)
    stale = [name for name in remote.files if name.endswith(".whl") and name not in names]
    changed = hub.differs(target, remote.head, place)
    if changed or stale:
        revision = hub.commit(target, remote, place, changed, stale).oid
        if wrong := hub.differs(target, revision, place):
            raise UserError(f"the Space {target.repo_id} does not hold what was sent: {', '.join(wrong)}; send it again")
    hub.finish(target, before, remote.head)
    url = f"{hub.api.endpoint}/spaces/{target.repo_id}"
    print(url)
    if private:
        print(f"{target.repo_id} is private: give its Space a secret HF_TOKEN that may read it ({url}/settings)")
    return url


def show_space(release: Release, repo_id: str) -> None:
    """Make the Space as ``publish_with_space``, send nothing, and print its files."""
    with TemporaryDirectory(prefix="space-") as name:
        place = Path(name)
        for each in stage_space(release, repo_id, "main", place):
            print(f"{(place / each).stat().st_size:>15,}  {each}")
        print(f"\n{(place / 'app.py').read_text('utf-8')}\n{(place / 'requirements.txt').read_text('utf-8')}")
        print(f"nothing was sent: this is what the Space {repo_id} would get, with the model's commit instead of main")
