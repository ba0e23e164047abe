"""An owner's edits of a card stay, whatever else is written anew."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.publishing.edits import SECTION, keep_edits, note_sections, owner_text, split_front
from tasks.publishing.lint import lint_card
from tasks.publishing.report import Base, Data
from tests.helpers.full_report import METRICS, bare_report, card, config_of, full_report, run_folder

INDEX = "<!-- model card sections: {}; the rest stays -->\n\n"


def section(name: str, body: str) -> str:
    return f"<!-- generated:{name} -->\n{body}\n<!-- /generated:{name} -->"


def made(metadata: str = "language: ko\n", **bodies: str) -> str:
    """A generated card with these sections."""
    return f"---\n{metadata}---\n" + INDEX.format(", ".join(bodies)) + "\n\n".join(
        section(name, body) for name, body in bodies.items()
    ) + "\n"  # fmt: skip


def metadata(text: str) -> dict:
    return yaml.safe_load(split_front(text)[0])


def bodies(text: str) -> dict[str, str]:
    return {match["name"]: match["body"] for match in SECTION.finditer(text)}


OLD = made(summary="# old", results="0.1", license="MIT")
NEW = made(summary="# new", results="0.2", license="MIT")


def test_without_an_owner_it_is_the_generated_card():
    for owners in (None, "", " \n"):
        assert keep_edits(owners, NEW) == NEW
    assert keep_edits(OLD, NEW) == NEW
    assert keep_edits(NEW, NEW) == NEW


def test_text_before_between_and_after_stays():
    owners = OLD.replace("<!-- generated:summary", "앞말\n\n<!-- generated:summary")
    owners = owners.replace(
        "<!-- generated:license", "사이 **말**\n\n| a |\n|---|\n\n    들여 쓴 줄\n\n<!-- generated:license"
    )
    owners += "\n## 끝말\n\n    코드\n"
    merged = keep_edits(owners, NEW)
    assert merged == owners.replace("# old", "# new").replace("0.1", "0.2")
    assert owner_text(merged) == owner_text(owners) == "앞말\n사이 **말**\n| a |\n|---|\n    들여 쓴 줄\n## 끝말\n    코드"


def test_a_section_whose_marks_were_removed_is_the_owners():
    for unmarked in ("0.1 on my own rows", ""):
        owners = OLD.replace(section("results", "0.1"), unmarked)
        merged = keep_edits(owners, NEW)
        assert list(bodies(merged)) == ["summary", "license"]
        assert owner_text(merged) == unmarked
        assert keep_edits(merged, NEW) == merged  # it stays away the next time too
        assert "sections: summary, results, license;" in merged


def test_a_new_section_comes_after_the_one_that_precedes_it():
    longer = made(prompt="P", summary="# new", data="D", results="0.2", license="MIT", use="U")
    owners = OLD.replace("<!-- /generated:summary -->", "<!-- /generated:summary -->\n\nmine") + "\nlast\n"
    merged = keep_edits(owners, longer)
    assert list(bodies(merged)) == ["prompt", "summary", "data", "results", "license", "use"]
    assert merged.index("<!-- /generated:data") < merged.index("mine") < merged.index("<!-- generated:results")
    assert merged.endswith("<!-- /generated:use -->\n\nlast\n")
    assert "sections: prompt, summary, data, results, license, use;" in merged


def test_sections_in_the_order_of_their_owner():
    owners = made(license="MIT", results="0.1", summary="# old")
    assert list(bodies(keep_edits(owners, NEW))) == ["license", "results", "summary"]


def test_a_section_that_has_nothing_to_say_leaves_and_comes_back():
    """As a licence that is settled only when a run is published, or examples that are asked for then."""
    shorter = made(summary="# new", license="MIT")
    owners = OLD + "\nmine\n"
    merged = keep_edits(owners, shorter)
    assert list(bodies(merged)) == ["summary", "license"]
    assert "sections: summary, license;" in merged
    again = keep_edits(merged, NEW)
    assert list(bodies(again)) == ["summary", "results", "license"]
    assert owner_text(again) == "mine"


def test_the_licence_of_a_real_card_comes_when_it_is_settled(tmp_path):
    report = dataclasses.replace(full_report("qa"), base=Base("my-model"), data=Data())
    before = card(report, tmp_path)
    assert "license" not in bodies(before)
    after = keep_edits(before, card(report, tmp_path, license="cc-by-4.0"))
    assert list(bodies(after)) == [*bodies(before), "license"]
    assert lint_card(after, folder=tmp_path) == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_real_cards(language, tmp_path):
    folder = run_folder(tmp_path / "run")
    first, second = bare_report("nli", rows=3, **METRICS["nli"]), full_report("nli")
    old, new = (card(report, folder, card_language=language, card_examples=1) for report in (first, second))
    assert owner_text(old) == owner_text(new) == ""
    assert keep_edits(old, new) == new
    other = card(second, folder, card_language="en" if language == "ko" else "ko", card_examples=1)
    assert keep_edits(other, new) == new  # a card that is to be in another language from now on
    assert bodies(keep_edits(new, old)) == bodies(old)
    edited = new.replace("<!-- generated:usage", "내 글\n\n<!-- generated:usage") + "\nThank you.\n"
    merged = keep_edits(edited, new)
    assert merged == edited
    assert owner_text(merged) == "내 글\nThank you."
    assert lint_card(merged, folder=folder) == []


def test_a_card_written_by_hand_keeps_all():
    by_hand = "# My model\n\nIt is good.\n\n---\n\nA rule is no metadata.\n"
    merged = keep_edits(by_hand, NEW)
    assert split_front(merged)[1] == INDEX.format("summary, results, license") + by_hand + "\n" + "\n\n".join(
        section(*item) for item in bodies(NEW).items()
    ) + "\n"  # fmt: skip
    assert keep_edits(merged, NEW) == merged
    with_metadata = f"---\nlicense: mit\nlanguage:\n- ko\n- en\n---\n{by_hand}"
    merged = keep_edits(with_metadata, NEW)
    assert metadata(merged) == {"language": ["ko", "en"], "license": "mit"}
    assert owner_text(merged) == owner_text(by_hand)


def test_a_mark_that_was_never_closed_takes_no_text_with_it():
    owners = OLD.replace("\n<!-- /generated:results -->", "\nmine")
    without_index = owners.replace(INDEX.format("summary, results, license"), "")
    for text in (owners, without_index):
        merged = keep_edits(text, NEW)
        assert "0.1\nmine" in merged
        assert keep_edits(merged, NEW) == merged
        assert "0.1\nmine" in keep_edits(keep_edits(merged, OLD), NEW)


def test_the_index_may_be_missing():
    template = NEW.replace(INDEX.format("summary, results, license"), "")  # a template of one's own
    owners = OLD.replace(section("results", "0.1"), "")
    merged = keep_edits(owners, template)
    assert list(bodies(merged)) == ["summary", "license"]  # what was taken out is remembered all the same
    assert keep_edits(merged, template) == merged
    assert note_sections(template) == template


def test_windows_line_ends_and_byte_order_mark():
    owners = OLD.replace("<!-- generated:license", "mine\n\n<!-- generated:license")
    windows = "\ufeff" + owners.replace("\n", "\r\n")
    assert keep_edits(windows, NEW) == keep_edits(owners, NEW)
    assert owner_text(windows) == owner_text(owners) == "mine"
    assert split_front(windows) == split_front(owners)
    assert keep_edits("\ufeff# by hand\r\n", NEW) == keep_edits("# by hand\n", NEW)


@pytest.mark.parametrize("before", ["", "\n", "\n\n", "\r\n"])
def test_empty_lines_before_the_metadata(before):
    assert split_front(f"{before}---\na: 1\n---\ntext\n") == ("a: 1\n", "text\n")
    assert split_front(f"{before}---\n---\ntext\n") == ("", "text\n")
    assert split_front(f"{before}---\na: 1\n---") == ("a: 1\n", "")


def test_text_without_metadata():
    for text in ("", "text\n---\na: 1\n---\n", "---\na: 1\n", "--- a\nb\n---\n"):
        assert split_front(text) == ("", text)


def test_spaces_after_a_mark_change_nothing():
    owners = OLD.replace("results -->\n", "results -->  \n")
    assert bodies(keep_edits(owners, NEW)) == bodies(NEW)


class TestMetadata:
    def merged(self, theirs: str, ours: str, **old: str) -> dict:
        text = keep_edits(made(theirs, **(old or {"summary": "x"})), made(ours, **(old or {"summary": "x"})))
        assert keep_edits(text, made(ours, **(old or {"summary": "x"}))) == text
        return metadata(text)

    def test_what_the_owner_added_stays(self):
        theirs = "tags:\n- korean\n- news\nlanguage: [ko, en]\nthumbnail: https://x.example/a.png\nwidget:\n- text: 안녕\n"
        ours = "language: ko\ntags:\n- korean\n- summarize\n"
        assert self.merged(theirs, ours) == {
            "language": ["ko", "en"],
            "tags": ["korean", "summarize", "news"],
            "thumbnail": "https://x.example/a.png",
            "widget": [{"text": "안녕"}],
        }
        assert list(self.merged("zebra: 1\napple: 2\n", ours)) == ["language", "tags", "zebra", "apple"]

    def test_single_values_for_lists(self):
        assert self.merged("tags: news\nlanguage: ko\n", "language: ko\ntags: [korean]\n") == {
            "language": "ko",
            "tags": ["korean", "news"],
        }
        assert self.merged("tags:\ndatasets: []\n", "language: ko\n") == {"language": "ko"}

    def test_figures_of_an_earlier_run_go(self):
        theirs = (
            "base_model: skt/kogpt2-base-v2\nbase_model_relation: finetune\nmetrics:\n- f1\n"
            "model-index:\n- name: x\n  results: []\npipeline_tag: other\n"
        )
        assert self.merged(theirs, "pipeline_tag: text-generation\n") == {"pipeline_tag": "text-generation"}
        assert self.merged(theirs, "base_model: a/b\nmetrics:\n- rouge\n") == {
            "base_model": "a/b",
            "metrics": ["rouge"],
            "pipeline_tag": "other",
        }

    def test_results_of_an_earlier_run_go(self, tmp_path):
        """Also where the earlier run measured other data, or another metric of the same data."""
        hub = Data("hub", "klue/klue", "nli", license="cc-by-sa-4.0")
        ours = card(full_report("nli"), tmp_path, "me/x")
        for report in (
            bare_report("nli", rows=3, test_rows=9, test_accuracy=0.25, **METRICS["nli"]),
            dataclasses.replace(full_report("nli"), data=hub),
            full_report("qa"),
        ):
            merged = metadata(keep_edits(card(report, tmp_path / "another-name", "me/y"), ours))
            assert {key: merged[key] for key in ("metrics", "model-index")} == {
                key: metadata(ours)[key] for key in ("metrics", "model-index")
            }

    def test_what_a_result_of_the_owners_is_told_by(self, tmp_path):
        ours = metadata(card(full_report("nli"), tmp_path, "me/x"))
        (model,) = ours["model-index"]
        of_a_run = model["results"][0]
        more = {"type": "bleu", "value": 12.5, "name": "BLEU"}
        added = [
            of_a_run | {"source": {"name": "a leaderboard", "url": "https://x.example"}},
            of_a_run | {"dataset": of_a_run["dataset"] | {"args": {"num_few_shot": 25}}},
            of_a_run | {"dataset": {"name": "KLUE", "type": "klue/klue"}},
            of_a_run | {"metrics": [more, {"type": "accuracy", "value": 0.5}]},
        ]
        beside = of_a_run | {"metrics": [*of_a_run["metrics"], more]}
        index = [
            {"name": "another-name", "results": [*model["results"], *added[:-1], beside]},
            {"name": "the-base", "results": [added[2]]},
        ]
        theirs = ours | {"model-index": index, "metrics": ["bleu", "bertscore"]}
        merged = self.merged(yaml.safe_dump(theirs), yaml.safe_dump(ours, sort_keys=False))
        assert merged["model-index"] == [
            {"name": "x", "results": [*model["results"], *added[:-1], of_a_run | {"metrics": [more]}, added[2]]}
        ]
        assert merged["metrics"] == [*ours["metrics"], "bleu"]
        alone = self.merged(yaml.safe_dump({"model-index": [{"name": "x", "results": added}]}), "language: ko\n")
        assert alone == {"language": "ko", "model-index": [{"name": "x", "results": added}]}

    @pytest.mark.parametrize(
        "index", ["x", "[x]", "[{name: x}]", "[{name: [x], results: [y, {metrics: z}, {metrics: [z]}, {dataset: 1}]}]", "{}"]
    )
    def test_results_that_are_none(self, index):
        assert self.merged(f"model-index: {index}\n", "language: ko\n") == {"language": "ko"}

    def test_the_data_set_of_an_earlier_run_goes_and_the_owners_stay(self, tmp_path):
        def of(name: str) -> str:
            return card(dataclasses.replace(full_report("nli"), data=Data("hub", name, license="cc-by-sa-4.0")), tmp_path)

        owners = of("klue/klue").replace("- klue/klue\n", "- klue/klue\n- me/more-rows\n")
        merged = keep_edits(owners, of("kakaobrain/kor_nli"))
        assert metadata(merged)["datasets"] == ["kakaobrain/kor_nli", "me/more-rows"]
        assert keep_edits(merged, of("kakaobrain/kor_nli")) == merged
        files = keep_edits(owners, card(full_report("nli"), tmp_path))
        assert metadata(files)["datasets"] == ["me/more-rows"]
        assert metadata(keep_edits(of("klue/klue"), card(full_report("nli"), tmp_path))).get("datasets") is None

    def test_a_folder_of_the_same_name_is_no_data_set_of_the_hub(self, tmp_path):
        ours = card(dataclasses.replace(full_report("nli"), data=Data("folder", "news")), tmp_path)
        merged = keep_edits(ours.replace("language: ko\n", "language: ko\ndatasets:\n- news\n"), ours)
        assert metadata(merged)["datasets"] == ["news"]
        assert keep_edits(merged, ours) == merged

    def test_a_licence_leaves_with_its_name_and_link(self):
        theirs = "license: other\nlicense_name: exaone\nlicense_link: https://x.example\n"
        assert self.merged(theirs, "license: mit\n") == {"license": "mit"}
        assert self.merged(theirs, "license: other\nlicense_name: qwen\nlicense_link: https://y.example\n") == {
            "license": "other",
            "license_name": "qwen",
            "license_link": "https://y.example",
        }
        whole = {"license": "other", "license_name": "exaone", "license_link": "https://x.example"}
        assert self.merged(theirs, "license: other\n") == whole
        assert self.merged(theirs, "language: ko\n") == {"language": "ko", **whole}  # not settled: the owner's word

    @pytest.mark.parametrize(
        "broken",
        ["a: [1\n", "a: b: c\n", "- a\n- b\n", "text\n", "a: 2024-13-45\n", "a: !!bool x\n", "? [a]\n: b\n", "a: !x 1\n",
         "a: &a [*a]\n"],
    )  # fmt: skip
    def test_broken_metadata_of_the_owner(self, broken):
        merged = keep_edits(made(broken, summary="# old") + "\nmine\n", NEW)
        assert metadata(merged)["language"] == "ko"
        assert owner_text(merged) == "mine"
        assert bodies(merged) == bodies(NEW)

    def test_dates_and_the_like_come_through(self):
        theirs = "date: 2024-01-02\non: true\nnothing:\nnumber: 1.50\ntext: '1'\n"
        merged = self.merged(theirs, "language: ko\n")
        assert merged == {"language": "ko", **yaml.safe_load(theirs)}


NAMES = ["summary", "prompt", "usage", "results", "license"]
WORDS = [
    "글", "# head", "    code", "- item", "", " ", "---", "```", "<!-- mine -->", "<!-- generated:summary", "a: [", "\ufeff",
    "<!-- model card sections: usage; x -->",
]  # fmt: skip
#: A mark whose other half is gone. (Around a section that leaves, two halves would become a section.)
STRAY = ["<!-- generated:results -->", "<!-- /generated:results -->", "<!-- generated:new -->"]
SECTIONS = st.lists(st.sampled_from(NAMES), unique=True, max_size=4)
FRONTS = st.sampled_from([
    "", "---\n---\n", "---\nlanguage: ko\n---\n", "---\ntags: [news, korean]\ndatasets: [a/b, c]\nx: 1\n---\n",
    "---\nbase_model: a/b\nlicense: other\nlicense_link: x\nlanguage: [en]\n---\n", "---\na: [\n---\n",
])  # fmt: skip


@st.composite
def owners_cards(draw):
    """A card as an owner may leave it: text and sections in any order, with or without metadata and index."""
    lines = st.lists(st.sampled_from([*WORDS, draw(st.sampled_from(STRAY))]), max_size=4).map("\n".join)
    parts = [draw(lines)]
    for name in draw(SECTIONS):
        parts += [section(name, draw(st.sampled_from(["old", "old\n\n(https://huggingface.co/datasets/a/b)"]))), draw(lines)]
    index = draw(st.one_of(st.just(""), SECTIONS.map(lambda names: INDEX.format(", ".join(names)))))
    text = draw(FRONTS) + index + draw(st.sampled_from(["\n", "\n\n"])).join(parts)
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@st.composite
def new_cards(draw):
    names = [name for name in NAMES if name in draw(SECTIONS)]
    front = draw(st.sampled_from(["language: ko\n", "language: ko\ntags:\n- korean\nlicense: mit\ndatasets:\n- d/e\n"]))
    text = made(front, **dict.fromkeys(names, "new"))
    return text if draw(st.booleans()) else text.replace(INDEX.format(", ".join(names)), "")


@settings(max_examples=150, deadline=None)
@given(owners_cards(), new_cards())
def test_merging_twice_is_merging_once(owners, new):
    merged = keep_edits(owners, new)
    assert keep_edits(merged, new) == merged
    assert set(bodies(merged)) <= set(bodies(new))
    assert set(bodies(merged).values()) <= {"new"}


@settings(max_examples=150, deadline=None)
@given(owners_cards(), new_cards())
def test_no_text_of_the_owner_is_lost(owners, new):
    assert owner_text(keep_edits(owners, new)) == owner_text(owners)


def test_a_card_of_another_task_in_the_same_folder(tmp_path):
    """Nothing of the first run is left but what its owner wrote."""
    folder = run_folder(tmp_path / "run")
    old = card(full_report("summarize"), folder).replace("<!-- generated:use -->", "mine\n\n<!-- generated:use -->")
    report = bare_report("qa", rows=3, **METRICS["qa"])
    merged = keep_edits(old, card(report, folder))
    assert owner_text(merged) == "mine"
    assert "ROUGE" not in merged
    assert "kogpt2-base-v2" not in merged
    assert config_of("qa").prompt_format in merged
