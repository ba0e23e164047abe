"""Flags of the model card and of publishing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.errors import UserError


@dataclass
class PublishArguments:
    """The model card that every run gets, and who may see the model on the Hub."""

    card_language: Literal["en", "ko"] | None = HfArg(default=None, help="Language of the model card; en.")
    card_template: str | None = HfArg(default=None, help="Your own template of the card; see model_cards/en.md.")
    # The rows are the user's data, so a card shows none by default.
    card_examples: int | None = HfArg(default=None, help="Show the first N validation rows with their predictions; 0.")
    card_file_names: bool = HfArg(default=False, help="Show the names of your data files, not their hashes alone.")
    license: str | None = HfArg(default=None, help="Hub id of the model's licence; the base model's by default.")
    dataset_license: str | None = HfArg(default=None, help="Hub id of the data's licence; the model's has to cover it.")
    allow_nd_dataset: bool = HfArg(default=False, help="Publish although the data is under a no-derivatives licence.")
    base_model: str | None = HfArg(default=None, help="Hub id of the base model, where --model is a local copy of it.")
    hub_public: bool = HfArg(default=False, help="Let everyone see it; private by default.")

    def __post_init__(self) -> None:
        if self.card_template and not Path(self.card_template).is_file():
            raise UserError(f"--card_template {self.card_template}: no such file")
        at_least(self, 0, "card_examples")

    def choices(self) -> dict[str, Any]:
        """The options given for card and licence, which a report keeps for publishing the run later.

        Not the template, which is a program: nobody else's folder names one.
        """
        return {name: value for name, value in vars(self).items() if value and name not in ("hub_public", "card_template")}
