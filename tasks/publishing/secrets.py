"""What must not leave the machine: access tokens and passwords, and what reveals where a model was made and by whom.

detect-secrets 1.5.0 finds 13 of 40 common formats, or 39 with its entropy detectors, which also take 14 of 18 harmless texts
(vocabulary, hashes, names of models) for secrets. So the formats are regular expressions, in secrets.yaml.
"""

from __future__ import annotations

import getpass
import html
import json
import re
import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import yaml
from PIL import Image

from tasks.errors import UserError

_TABLES = yaml.safe_load(Path(__file__).with_name("secrets.yaml").read_text("utf-8"))
_PATTERNS, _PRIVATE = (
    {kind: re.compile(pattern) for kind, pattern in _TABLES[table].items()} for table in ("secrets", "private")
)
ASSIGNED = "password, token or key that is assigned"
OWN = "access token of yours"
#: A name and what it is set to. ``pad_token``, ``tokens_per_second`` and so on match too: the value decides.
_ASSIGNMENT = re.compile(
    rf"(?:(?P<password>{_TABLES['assigned']['password']})|(?<![a-z]){_TABLES['assigned']['other']})"
    r"(?![a-z])[\w-]{0,20}?"
    r"(?:[\"'`\])}*]{0,3}[ \t]{0,3}(?::=|=>|[:=>|：＝])[ \t]{0,3}|(?:는|은|가|이)?[ \t]{1,3}(?:is[ \t])?(?!is))[\"'`*]{0,3}"
    r"(?P<value>[A-Za-z0-9_+/=.~!@#$%^&*?-]{8,200})(?!\()"
    r"|bearer[ \t]{1,3}(?P<bearer>[A-Za-z0-9_+/=.~-]{16,200})",
    re.IGNORECASE,
)
#: What people choose: letters and digits side by side. RSA-2048 and kogpt2-base-v2 are names.
_CHOSEN = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[A-Za-z0-9!@#$%^&*?]+|(?=.*[a-z][A-Z]{2})[A-Za-z]+")
#: An escape of JSON, YAML or Python.
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/nrt])")
_LONGEST_HEADER = 100_000_000  # bytes; what safetensors itself allows

_URL = re.compile(r"(?:https?|ftp|s3|gs|hf|ssh|git)://[^\s\"'<>`)\]]{1,2000}", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64})@((?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9])"
)


def readings(text: str) -> Iterator[str]:
    """``text`` as it stands, and with its escapes undone as often as they are nested: JSON in JSON, HTML in a card."""
    yield text
    for _ in range(3):
        plain = _ESCAPE.sub(_unescaped, html.unescape(text))
        if plain == text:
            return
        yield (text := plain)


def _unescaped(escape: re.Match[str]) -> str:
    return escape[0][1] if escape[0][1] in "\"'\\/" else escape[0].encode().decode("unicode_escape")


def find_secrets(text: str) -> list[str]:
    """The kinds of secrets in ``text``, each once; never a secret itself."""
    found, assigned = [], False
    for reading in readings(text):
        kinds = [kind for kind, pattern in _PATTERNS.items() if pattern.search(reading)]
        rest = reading
        for kind in kinds:
            rest = _PATTERNS[kind].sub("\n", rest)  # what has a name of its own is not told twice
        found += kinds
        assigned |= any(map(_is_assigned, _ASSIGNMENT.finditer(rest)))
    return [*dict.fromkeys(found), *[ASSIGNED] * assigned]


def _is_assigned(match: re.Match[str]) -> bool:
    value = match["value"] or match["bearer"]
    return _looks_random(value) or bool(match["password"] and _CHOSEN.fullmatch(value))


def _looks_random(value: str) -> bool:
    """Whether letters, digits and cases alternate as in random text. In names (``kogpt2-base-v2``) and dates they do not."""
    parts = re.findall(r"[A-Za-z0-9]+", value)
    kinds = [["0" if char.isdigit() else "A" if char.isupper() else "a" for char in part] for part in parts]
    length = sum(map(len, parts))
    turns = sum(before != after for part in kinds for before, after in pairwise(part))
    digits = sum(part.count("0") for part in kinds)
    return 10 <= length != digits and turns >= (0.25 if digits >= 2 else 0.45) * length


def find_private(text: str) -> list[tuple[str, str]]:
    """What reveals the machine or a person, as (kind, excerpt): absolute paths, user and host name, e-mail addresses.

    Links, Hub ids and relative paths are none. An excerpt has at most 60 characters and no secret in it.
    """
    hidden = _URL.sub(" ", text)
    found = []
    for kind, pattern in _PRIVATE.items():
        found += [(kind, match[0]) for match in pattern.finditer(hidden)]
        hidden = pattern.sub(" ", hidden)
    for match in _EMAIL.finditer(hidden):
        # git@github.com is an address to clone from; example.com is kept free for examples
        if match[1].lower() not in ("git", "noreply") and not re.search(r"\bexample\.(?:com|org|net)$", match[2]):
            found.append(("e-mail address", match[0]))
    for kind, name in _own_names():
        # me/model is a Hub id, and so no path
        word = rf"(?<![A-Za-z0-9_@.-]){re.escape(name)}(?![A-Za-z0-9_@-])(?:(?!/)|(?<=[/\\]{re.escape(name)}))"
        found += [(kind, match[0]) for match in re.finditer(word, hidden)]
        hidden = re.sub(word, " ", hidden)
    return list(dict.fromkeys((kind, excerpt(what)) for kind, what in found))


def _own_names() -> Iterator[tuple[str, str]]:
    """The user name and the host name, where they reveal anything."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run under a number that has no name
        user = ""
    host = socket.gethostname()
    for kind, name, shortest in (("user name", user, 3), ("host name", host, 4), ("host name", host.split(".")[0], 4)):
        if len(name) >= shortest and name.lower() not in _TABLES["common_names"].split():
            yield kind, name


def excerpt(value: object, length: int = 60) -> str:
    """``value`` in one line of at most ``length`` characters, to be shown; what holds a secret is not shown at all."""
    text = str(value)[: 50 * length]
    if find_secrets(text):
        return "(not shown: it holds a secret)"
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def scan_file(path: Path, known_secrets: Iterable[str] = ()) -> list[str]:
    """The kinds of secrets in the file ``path``, ``known_secrets`` among them.

    Raises:
        UserError: the file cannot be read.
    """
    text = readable(path)
    known = any(
        len(secret.strip()) >= 8 and secret.strip() in reading for secret in known_secrets for reading in readings(text)
    )
    return [*find_secrets(text), OWN] if known else find_secrets(text)


def scan_paths(path: Path) -> list[tuple[str, str]]:
    """The paths of a machine in the file ``path``, as ``find_private``. In a vocabulary, ``/home/x`` may be a token."""
    found = dict.fromkeys(hit for reading in readings(readable(path)) for hit in find_private(reading))
    vocabulary = path.name == "vocab.json" or path.suffix in (".model", ".txt")
    shortest = 3 if vocabulary else 2 if path.name == "tokenizer.json" else 1
    return [hit for hit in found if hit[0] in _PRIVATE and len(re.findall(r"[\\/]+", hit[1])) >= shortest]


def readable(path: Path) -> str:
    """The text in a file: of safetensors the header, of an image what is written beside its pixels.

    Of tokenizer.json the tokens that are too short for a secret are left out: there are a hundred thousand.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            is_weights = path.suffix == ".safetensors"
            size = min(int.from_bytes(file.read(8), "little"), _LONGEST_HEADER) if is_weights else -1
            text = file.read(size).decode("utf-8", "ignore")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; it cannot be searched for secrets, so it is not published"
        ) from None
    if path.name == "tokenizer.json":
        try:
            model = (content := json.loads(text))["model"]
            for part in ("vocab", "merges"):
                model[part] = [token for token in model.get(part) or () if len("".join(map(str, token))) >= 20]
            return json.dumps(content, ensure_ascii=False)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return text
    if path.suffix != ".png":
        return re.sub("[\0-\x08\x0e-\x1f]", "\n", text)  # in a binary file, between its texts
    text = "\n".join(re.findall("[ -~]{16,}", text))  # pixels are no text
    try:
        with Image.open(path) as image:
            image.load()  # what stands behind the pixels, too
            return "\n".join([text, *(f"{name}: {value}" for name, value in image.info.items())])
    except (OSError, ValueError, SyntaxError):  # no image, whatever its name
        return text
