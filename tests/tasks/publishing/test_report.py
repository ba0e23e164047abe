"""run_report.json: there and back, missing, and damaged."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from tasks.errors import UserError
from tasks.publishing.report import Base, Data, RunReport
from tasks.run_folder import write_json
from tests.helpers.full_report import ALL_TASKS, config_of, full_report


@pytest.fixture
def saved(tmp_path):
    """The folder of a run whose report is ``full_report("nli")``."""
    report = full_report("nli")
    report.config.save(tmp_path)
    report.save(tmp_path)
    write_json(tmp_path / "all_results.json", report.results)
    write_json(tmp_path / "trainer_state.json", {"log_history": report.log, "global_step": 6250})
    return tmp_path


@pytest.mark.parametrize("task", ALL_TASKS)
def test_there_and_back(task, tmp_path):
    report = full_report(task)
    report.config.save(tmp_path)
    report.save(tmp_path)
    write_json(tmp_path / "all_results.json", report.results)
    write_json(tmp_path / "trainer_state.json", {"log_history": report.log})
    assert RunReport.load(tmp_path) == report
    assert RunReport.load(str(tmp_path)) == report


def test_nothing_is_written_twice(saved):
    names = {field.name for field in dataclasses.fields(RunReport)}
    assert set(json.loads((saved / "run_report.json").read_text("utf-8"))) == names - {
        "config",
        "adapter",
        "results",
        "log",
        "prefix",
    }


def test_an_empty_report(tmp_path):
    report = RunReport(config_of("qa"))
    report.config.save(tmp_path)
    report.save(tmp_path)
    assert RunReport.load(tmp_path) == report


def test_a_folder_without_a_report(tmp_path):
    config_of("qa", base_model="kogpt2").save(tmp_path)
    assert RunReport.load(tmp_path) == RunReport(config_of("qa", base_model="kogpt2"), base=Base("kogpt2"))
    config_of("scratch", base_model="GPT-2 small from scratch").save(tmp_path)
    assert RunReport.load(tmp_path).base == Base(from_scratch=True)


def test_missing_files_are_empty(saved):
    (saved / "trainer_state.json").unlink()
    (saved / "all_results.json").unlink()
    report = RunReport.load(saved)
    assert (report.results, report.log) == ({}, [])
    assert report.data == full_report("nli").data


def test_a_report_with_less_in_it(saved):
    (saved / "run_report.json").write_text('{"parameters": 5}', "utf-8")
    report = RunReport.load(saved)
    assert (report.parameters, report.base, report.data) == (5, Base(), Data())


class TestDamage:
    def error(self, folder) -> str:
        with pytest.raises(UserError) as caught:
            RunReport.load(folder)
        text = str(caught.value)
        assert "\n" not in text
        return text.replace(str(folder), "F")

    def test_no_folder(self, tmp_path):
        assert self.error(tmp_path / "x") == "F: no such folder; name the output folder of a run"
        (tmp_path / "x").touch()
        assert self.error(tmp_path / "x") == "F: no such folder; name the output folder of a run"

    def test_no_run(self, tmp_path):
        assert self.error(tmp_path) == "F: no task.json there, so it is not the folder of a finished run"

    @pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "{}", '{"task": "nli"}', "\x00", "null"])
    def test_task_json(self, saved, text):
        (saved / "task.json").write_text(text, "utf-8")
        assert self.error(saved).startswith("F/task.json: not a task.json of this project (")

    @pytest.mark.parametrize("name", ["run_report.json", "all_results.json", "trainer_state.json"])
    def test_no_json_in_the_others(self, saved, name):
        whole = (saved / name).read_bytes()
        for content in (b"", whole[:100], b"\xff\xfe", b"{'a': 1}"):
            (saved / name).write_bytes(content)
            error = self.error(saved)
            assert error.startswith(f"F/{name}: cannot be read (")
            assert error.endswith("); run again, or delete that file")
        for content in (b"[]", b"1", b'"x"', b"null"):
            (saved / name).write_bytes(content)
            assert self.error(saved) == f"F/{name}: holds no object; run again, or delete that file"

    @pytest.mark.parametrize(
        "values",
        [{"unknown": 1}, {"base": {"nmae": "x"}}, {"base": 5}, {"data": None}, {"data": {"file": []}}, {"config": {}}],
    )
    def test_a_report_of_another_release(self, saved, values):
        (saved / "run_report.json").write_text(json.dumps(values), "utf-8")
        error = self.error(saved)
        assert error.startswith("F/run_report.json: not of this release (")
        assert error.endswith("); delete that file or run again")
        (saved / "run_report.json").unlink()
        assert RunReport.load(saved).results == full_report("nli").results

    def test_a_log_that_is_none(self, saved):
        for state in ({}, {"log_history": None}, {"log_history": []}):
            write_json(saved / "trainer_state.json", state)
            assert RunReport.load(saved).log == []

    def test_a_disk_that_takes_nothing(self, saved, monkeypatch):
        shutil.rmtree(saved)
        with pytest.raises(UserError, match=r"run_report.json: No such file or directory; nothing there was changed"):
            full_report("nli").save(saved)
