"""What a trained model says: generation, scoring, and loading it for either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.inference.answering import Model


def load(model: str, **settings: Any) -> Model:
    """The model of a folder or Hub id as a function of rows; ``settings`` as ``answering.open_trained`` takes them.

    >>> model = load("outputs/nli")
    >>> model([{"premise": "비가 온다.", "hypothesis": "날씨가 맑다."}])
    """
    from tasks.inference.answering import open_trained  # here: torch takes seconds to import

    return open_trained(model, **settings)
