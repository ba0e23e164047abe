"""The house: imports run one way, rooms stay small, scripts stand alone (see CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: Floors from the ground up. A file imports its own room and the floors below, annotations and lazy imports included.
#: A room is a folder of ``tasks/``, or the files of ``tasks/`` itself that are named together.
FLOORS = (
    ({"errors", "distributed", "progress", "machine", "text", "wording"},),
    ({"metrics"}, {"base", "run_folder", "network"}),
    ({"samples", "__init__"},),  # and every other file in tasks/ itself: a task
    ({"arguments"},),
    ({"reading"},),
    ({"preparing"},),
    ({"model"},),
    ({"inference"},),
    ({"training"},),
    ({"publishing"}, {"benchmarking"}),
    ({"showing"},),
)
PLACES = {name: (floor, room) for floor, rooms in enumerate(FLOORS) for room, names in enumerate(rooms) for name in names}
TASKS = PLACES["__init__"]
LARGEST = 14

FILES = sorted((ROOT / "tasks").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports anywhere, as dotted names; ``from tasks import x`` names both."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] in ("tasks", "scripts", *(path.stem for path in SCRIPTS))}


def module_file(name: str) -> Path | None:
    """The file of a dotted name; None where the name is something inside of a module."""
    path = ROOT.joinpath(*name.split("."))
    return next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)


def place(path: Path) -> tuple[int, int]:
    """Floor and room of a file of ``tasks/``."""
    first = path.relative_to(ROOT / "tasks").parts[0].removesuffix(".py")
    return PLACES.get(first, TASKS)


def arrows(path: Path) -> set[Path]:
    """The files of ``tasks/`` that a file imports. The package itself is passed through by every import; it counts where
    something is taken from it."""
    files = {file for name in imports(path) if (file := module_file(name)) and file != path}
    takes = any(
        isinstance(node, ast.ImportFrom)
        and node.module == "tasks"
        and any(not module_file(f"tasks.{a.name}") for a in node.names)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )
    return files - (set() if takes else {ROOT / "tasks" / "__init__.py"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    floor, room = place(path)
    wrong = {
        str(other.relative_to(ROOT))
        for other in arrows(path)
        if not (place(other)[0] < floor or place(other) == (floor, room))
    }
    assert not wrong, f"{path.relative_to(ROOT)} (floor {floor}) imports {', '.join(sorted(wrong))}"


def test_no_circle():
    graph = {path: arrows(path) for path in FILES}
    while leaves := {path for path, others in graph.items() if not others & graph.keys()}:
        graph = {path: others for path, others in graph.items() if path not in leaves}
    assert not graph, f"these files import each other: {', '.join(sorted(str(path.relative_to(ROOT)) for path in graph))}"


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES} - {ROOT / "tasks"}), ids=lambda path: path.name)
def test_rooms_are_small(folder):
    names = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(names) <= LARGEST, f"{folder.name} holds {len(names)} files"


@pytest.mark.parametrize("path", [*SCRIPTS, *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_are_not_imported(path):
    stems = {script.stem for script in SCRIPTS}
    assert not {name for name in imports(path) if name.partition(".")[0] in {"scripts", *stems}}
