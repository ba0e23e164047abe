"""Models whose next token depends on all that stands before it, so that a mistake in padding or position shows."""

from __future__ import annotations

import pytest
import torch

from tasks import get_task
from tasks.arguments.generation import GenerationArguments, generation_settings
from tasks.inference.predicting import Predictor
from tasks.model.config import load_config
from tasks.model.loading import load_model
from tasks.model.tokenizer import load_tokenizer
from tasks.preparing.encoding import Encoder
from tests.conftest import model_args, with_separators


def lively(model):
    """Larger weights: a fresh tied model otherwise repeats its last token, whatever the positions and the mask are."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.35, generator=generator)
    return model.eval()


@pytest.fixture
def make_predictor():
    """``make_predictor(folder, task name, settings...)``: a Predictor over a lively model of that folder."""

    def make(folder: str, task_name: str, max_length: int = 96, batch_size: int = 4, **settings) -> Predictor:
        task = get_task(task_name)
        arguments = model_args(folder)
        tokenizer, appended = with_separators(load_tokenizer(arguments, load_config(arguments)), task)
        settings = generation_settings(task, GenerationArguments(**({"max_new_tokens": 8} | settings)))
        model = lively(load_model(arguments, tokenizer, appended))
        encoder = Encoder(tokenizer, max_length, settings["max_new_tokens"])
        return Predictor(task, model, encoder, settings, batch_size)

    return make
