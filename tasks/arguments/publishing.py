"""What a model card says, and who may see the model on the Hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tasks.errors import UserError


@dataclass
class PublishArguments:
    """The model card that every run gets, and who may see the model on the Hub."""

    card_language: Literal["en", "ko"] | None = field(default=None, metadata={"help": "Language of the model card; en."})
    card_template: str | None = field(
        default=None, metadata={"help": "Your own template of the card; model_cards/en.md shows what it can use."}
    )
    # The rows are the user's data: a card is no place for them unless asked for.
    card_examples: int | None = field(
        default=None, metadata={"help": "Show the first N validation rows and what the model made of them; 0."}
    )
    license: str | None = field(
        default=None, metadata={"help": "Hub id of the model's licence; the base model's by default."}
    )
    dataset_license: str | None = field(
        default=None, metadata={"help": "Hub id of the data's licence; the stricter of base and data wins."}
    )
    allow_nd_dataset: bool = field(
        default=False, metadata={"help": "Publish though the data is under a no-derivatives licence; the card says so."}
    )
    base_model: str | None = field(
        default=None, metadata={"help": "Hub id of the base model, where --model is a local copy of it."}
    )
    hub_public: bool = field(default=False, metadata={"help": "Let everyone see it; private by default."})

    def __post_init__(self) -> None:
        """Raises UserError on a template that is not there, and fewer than no examples."""
        if self.card_template and not Path(self.card_template).is_file():
            raise UserError(f"--card_template {self.card_template}: no such file")
        if self.card_examples is not None and self.card_examples < 0:
            raise UserError(f"--card_examples is {self.card_examples}; it must be 0 or more")

    def choices(self) -> dict[str, Any]:
        """What was chosen for the card and the licence, to be chosen again when the run is published later."""
        names = (
            "card_language",
            "card_template",
            "card_examples",
            "license",
            "dataset_license",
            "allow_nd_dataset",
            "base_model",
        )
        return {name: getattr(self, name) for name in names if getattr(self, name)}
