"""Telling failed requests from defects of the program."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.errors import UserError

#: Packages whose exceptions mean that a request failed.
HTTP_PACKAGES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "socket", "ssl"}


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
            f"{name}: no such folder here, and the Hub cannot be reached; check the path or the network (a model made by "
            "scripts/run_scratch.py needs none)"
        )
    return None
