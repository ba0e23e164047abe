"""Telling a request that did not come through from a defect of the program."""

from __future__ import annotations

from collections.abc import Iterator

#: Packages whose exceptions mean that a request did not come through.
HTTP_PACKAGES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp", "socket", "ssl"}


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, the root last."""
    while error is not None:
        yield error
        error = error.__cause__


def is_named(error: BaseException, name: str) -> bool:
    """Whether the error, or one that it was raised from, is of the class ``name`` of huggingface_hub."""
    return any(type(cause).__name__ == name for cause in causes(error))


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the server answered with; None where it did not answer."""
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in causes(error)]
    return next((status for status in statuses if status is not None), None)


def is_network(error: BaseException) -> bool:
    """Whether the error, or one that it was raised from, says that a request did not come through."""
    return is_named(error, "LocalEntryNotFoundError") or any(
        isinstance(cause, (ConnectionError, TimeoutError))
        or any(cls.__module__.split(".")[0] in HTTP_PACKAGES for cls in type(cause).__mro__)
        for cause in causes(error)
    )
