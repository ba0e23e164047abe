"""What a run that will be published looks at before it trains."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tasks.arguments.publishing import PublishArguments
from tasks.errors import UserError
from tasks.publishing.run import RunRecorder
from tests.helpers.full_report import full_report


def check(folder, report=None, **given) -> None:
    recorder = object.__new__(RunRecorder)  # what it is made from needs a model
    recorder.report = report or full_report("nli")
    recorder.report.results = {}
    training = SimpleNamespace(output_dir=str(folder), hub_model_id="me/nli", hub_revision=None)
    recorder._check_card(SimpleNamespace(training=training, publishing=PublishArguments(**given)))


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_card_of_a_run_that_has_no_results_yet_is_fit(tmp_path, language):
    check(tmp_path / "run", card_language=language, card_examples=3)


def test_a_card_that_would_be_refused_at_the_end_is_refused_before_training(tmp_path):
    report = full_report("nli")
    report.base.hub_id = report.base.name = "/home/minsu/base"
    with pytest.raises(UserError, match=r"the card is not fit to be published: .*; nothing was trained"):
        check(tmp_path / "run", report)


def test_a_template_that_is_none_is_refused_before_training(tmp_path):
    (tmp_path / "own.md").write_text("{% if %}", "utf-8")
    with pytest.raises(UserError, match=r"own\.md: the template cannot be used"):
        check(tmp_path / "run", card_template=str(tmp_path / "own.md"))
