"""Whether the Hub can be reached, and telling failed requests from defects of the program."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.utils import get_session

from tasks.errors import UserError

#: Packages whose exceptions mean that a request failed.
HTTP_PACKAGES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "socket", "ssl"}


@functools.cache
def answers(endpoint: str) -> bool:
    """Whether a connection to this Hub is possible, tried once a process.

    Where it is not, huggingface_hub would ask six times for each file that is not in its cache: 24 seconds a file.
    """
    try:
        get_session().head(endpoint, timeout=5)
    except Exception as error:  # of httpx or httpx2, by the version of huggingface_hub
        return not any(is_named(error, name) for name in ("ConnectError", "ConnectTimeout", "ProxyError"))
    return True


def cache_only(name: str) -> bool:
    """Whether the model or data set ``name`` is read from the cache of the Hub alone; False for a folder."""
    return not Path(name).is_dir() and (is_offline_mode() or not answers(constants.ENDPOINT))


@contextlib.contextmanager
def hub_or_cache(name: str) -> Iterator[None]:
    """Read the data set ``name`` from the cache alone where the Hub cannot be reached; a folder is read as it is."""
    import datasets

    with contextlib.ExitStack() as changed:
        for settings in (constants, datasets.config) if cache_only(name) else ():
            changed.callback(setattr, settings, "HF_HUB_OFFLINE", settings.HF_HUB_OFFLINE)
            settings.HF_HUB_OFFLINE = True
        yield


def near(folder: str) -> str:
    """`` (did you mean ...?)`` with the folders that are called almost like a missing one; empty where there are none."""
    path, beside = Path(folder), {}
    with contextlib.suppress(OSError):
        beside = {each.name.lower(): str(each) for each in path.parent.iterdir() if each.is_dir()}
    close = [beside[name] for name in difflib.get_close_matches(path.name.lower(), beside)]
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its chain of causes, the root last."""
    while error is not None:
        yield error
        error = error.__cause__


def is_named(error: BaseException, name: str) -> bool:
    """Whether the error or one of its causes is of the class ``name`` of huggingface_hub."""
    return any(type(cause).__name__ == name for cause in causes(error))


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the server's answer; None without one."""
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes(error)]
    return next((status for status in statuses if status is not None), None)


def is_network(error: BaseException) -> bool:
    """Whether the error or one of its causes means that a request failed."""
    return is_named(error, "LocalEntryNotFoundError") or any(
        isinstance(cause, (ConnectionError, TimeoutError))
        or any(cls.__module__.split(".")[0] in HTTP_PACKAGES for cls in type(cause).__mro__)
        for cause in causes(error)
    )


def hub_failure(name: str, error: Exception) -> UserError | None:
    """The UserError for a Hub that did not answer, or answered with a server error; None for other errors."""
    reasons = [reason for reason in (error, error.__context__) if reason is not None]  # transformers does not always chain
    status = next((status for reason in reasons if (status := status_of(reason))), None)
    if status and status >= 500:
        return UserError(f"{name}: the Hub answers with an error of its own ({status}); run the same command again later")
    text = " ".join(str(error).split())
    words = ("connect", "offline", "couldn't reach", "resolve", "cached files", "internet")
    if (status is None and any(map(is_network, reasons))) or any(word in text for word in words):
        return UserError(
            f"{name}: no such folder here{near(name)}, and the Hub cannot be reached; check the path or the network (a "
            "model made by scripts/run_scratch.py needs none)"
        )
    return None
