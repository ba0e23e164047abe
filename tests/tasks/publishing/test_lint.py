"""What lint says about the text of a card, with the exact words, and that it says nothing about a good one."""

from __future__ import annotations

import pytest

from tasks.errors import UserError
from tasks.publishing.lint import lint_card, lint_path
from tests.helpers.good_card import CARD, findings

NOTE = "TO" + "DO"
HF = "hf_" + "x" * 34


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "minsu")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")


def test_a_clean_card(tmp_path):
    (tmp_path / "loss.png").touch()
    assert lint_card(CARD, folder=tmp_path, repo_id="me/kogpt2-nli") == []
    assert lint_card(CARD) == []
    assert lint_card(CARD.replace("\n", "\r\n"), folder=tmp_path) == []
    assert lint_card("\n" + CARD) == []  # the Hub allows for it


PLACEHOLDERS = [
    "More information needed", "[More Information Needed]", NOTE, f"{NOTE.lower()}: x", f"{NOTE}를 적는다", "TB" + "D",
    "FIX" + "ME", "lorem ipsum", "your-username", "YOUR_TOKEN", "<your", "<your model>", "<repo_id>",
    "내용을 입력하세요", "여기에 작성", "작성 예정", "추가 정보 필요", "to be added", "coming soon",
]  # fmt: skip


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_placeholder(text):
    for card in (f"{CARD}\n앞 {text}", CARD.replace("# # no heading", f"# {text}")):
        (finding,) = findings(card)
        assert finding.startswith("line ")
        assert "the placeholder " in finding
        assert finding.endswith("; write what is meant or take it out")


@pytest.mark.parametrize("text", ["{{ name }}", "{{name}}", "{% if x %}"])
def test_what_a_template_left(text):
    assert findings(f"{CARD}\n앞 {text}") == [f"line 47: the placeholder {text}; write what is meant or take it out"]


@pytest.mark.parametrize(
    "text",
    [
        "Mastodon, method, TODOs_x, stbd, 'your own model', load your model",
        "그는 책을 작성 예정이라고 밝혔다. 내용을 입력한 뒤 저장했다.",
        "f'{x}', {a: {b: 1}}, $x",
        "```bibtex\n@misc{kogpt2,\n  author = {{SK Telecom}},\n  title = {{KoGPT2}}\n}\n```",
        "document <summarize> summary <eos>",
    ],
)
def test_no_placeholder(text):
    assert findings(f"{CARD}\n{text}\n") == []


ALONE = " has no counterpart; restore it, or take this one out as well"
BODY = [
    (f"토큰 {HF}", "line 47: a secret (Hugging Face token); take it out, and revoke it where others saw it"),
    ("in /home/me/x", "line 47: absolute path /home/me/x; take it out, it tells about one machine or person"),
    ("by minsu", "line 47: user name minsu; take it out, it tells about one machine or person"),
    ("kim@lab.kr", "line 47: e-mail address kim@lab.kr; take it out, it tells about one machine or person"),
    ("![x](none.png)", "line 47: the image none.png is missing in the folder"),
    ('<img width="9" src="none.png">', "line 47: the image none.png is missing in the folder"),
    ("![x](../x.png)", "line 47: the image ../x.png is outside of the folder; copy it there and write its name alone"),
    ("![x](/x.png)", "line 47: the image /x.png is outside of the folder; copy it there and write its name alone"),
    ("<!-- generated:data -->\ntext", "line 47: the mark generated:data" + ALONE),
    ("text\n<!-- /generated:data -->", "line 48: the mark /generated:data" + ALONE),
    (
        "<!-- generated:a -->\n## A\n<!-- generated:b -->\nx\n<!-- /generated:b -->",
        "line 47: the mark generated:a" + ALONE,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "finding"), BODY, ids=range(len(BODY)))
def test_body(tmp_path, text, finding):
    (tmp_path / "loss.png").touch()
    assert CARD.count("\n") == 45
    assert findings(f"{CARD}\n{text}\n", folder=tmp_path) == [finding]


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://huggingface.co/me/x/resolve/main/x.png) ![x](data:image/png;base64,xx) `![x](none.png)`",
        "![x](loss.png?raw=true) ![x](<loss.png>) ![x](loss%2Epng)",
        "```markdown\n![x](none.png)\n```",
        "`<!-- generated:x -->`",
        "~~~python\nx = '```'\n~~~",
        "````text\n```python\n(\n```\n````",
        "#hashtag",
    ],
)
def test_body_without_a_finding(tmp_path, text):
    (tmp_path / "loss.png").touch()
    assert findings(f"{CARD}\n{text}\n", folder=tmp_path) == []


def test_the_example_has_to_load_this_model():
    told = ["README.md: no python block loads me/kogpt2; show how, so that a reader can copy it"]
    assert findings(CARD, repo_id="me/kogpt2") == told
    assert findings(CARD, repo_id="me/kogpt2-nli") == []
    assert findings(CARD.replace("```python", "```text")) == [
        "README.md: no python block loads a model; show how, so that a reader can copy it"
    ]


def test_who_publishes_under_the_own_name_may_say_so():
    card = CARD.replace("me/kogpt2-nli", "minsu/kogpt2-nli") + "\nby minsu\n"
    assert findings(card, repo_id="minsu/kogpt2-nli") == []


def test_secrets_are_not_told():
    card = CARD.replace("base_model: skt/kogpt2-base-v2", f"base_model: /home/me/{HF}")
    told = findings(card)
    assert len(told) == 2
    assert not any(HF in line for line in told)


def test_a_secret_on_two_lines():
    card = f"{CARD}\nwandb_api_key:\n{'0a' * 20}\n"
    assert findings(card) == ["README.md: a secret (W&B API key); take it out, and revoke it where others saw it"]


def test_lint_path(tmp_path):
    card = tmp_path / "README.md"
    card.write_text(CARD, "utf-8")
    missing = ["README.md line 45: the image loss.png is missing in the folder"]
    assert lint_path(tmp_path) == lint_path(card) == lint_path(str(card)) == missing
    (tmp_path / "loss.png").touch()
    assert lint_path(tmp_path, "me/kogpt2-nli") == []
    other = tmp_path / "nli.md"
    other.write_text(CARD + NOTE, "utf-8")
    assert lint_path(other) == [f"nli.md line 46: the placeholder {NOTE}; write what is meant or take it out"]


def test_lint_path_without_a_card(tmp_path):
    with pytest.raises(UserError, match=r"README\.md: no model card to read \(No such file or directory\)"):
        lint_path(tmp_path)
    (tmp_path / "README.md").write_bytes("한국어".encode("cp949"))
    with pytest.raises(UserError, match=r"README\.md: not UTF-8 \(byte 1\); save it as UTF-8"):
        lint_path(tmp_path)


# the metadata: what was done to a good card, and the exact words

UNREADABLE = "huggingface_hub does not read the metadata: "
METADATA = [
    ("language: ko\n", "", "README.md: language is missing; write language: ko"),
    ("language: ko", "language: en", "line 2: language does not name ko, which every task here is about"),
    ("language: ko", "language: [en, ja]", "line 2: language does not name ko, which every task here is about"),
    (
        "license: cc-by-nc-sa-4.0\n", "",
        "README.md: license is missing; name one by its id on the Hub, such as cc-by-nc-sa-4.0",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: CC-BY-NC-SA-4.0",
        "line 3: license CC-BY-NC-SA-4.0 is not a licence id of the Hub; did you mean cc-by-nc-sa-4.0?",
    ),
    (
        "license: cc-by-nc-sa-4.0", "license: [mit]",
        "line 3: license ['mit'] is not a licence id of the Hub; did you mean mit?",
    ),
    ("pipeline_tag: text-generation\n", "", "README.md: pipeline_tag is missing; write pipeline_tag: text-generation"),
    ("library_name: transformers\n", "", "README.md: library_name is missing; write library_name: transformers"),
    (
        "value: 0.71", "value: !!python/object/apply:numpy.core.multiarray.scalar [1]",
        f"line 23: {UNREADABLE}could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:numpy.core.multiarray.scalar'",
    ),
    ("language: ko", "language: 'ko", f"line 25: {UNREADABLE}found unexpected end of stream"),
    ("language: ko", "language: ko\nx: " + "[" * 9_000, f"README.md: {UNREADABLE}maximum recursion depth exceeded"),
    ("language: ko", "language: ko\n2: x", f"README.md: {UNREADABLE}keywords must be strings"),
    ("language: ko", "language: ko\nday: 2024-13-45", f"README.md: {UNREADABLE}month must be in 1..12"),
    ("tags:\n- korean\n- nli", "tags: 3", f"README.md: {UNREADABLE}'int' object is not iterable"),
    (
        "language: ko", "language: ko\nignore_metadata_errors: 1",
        f"README.md: {UNREADABLE}"
        "huggingface_hub.repocard_data.ModelCardData() got multiple values for keyword argument 'ignore_metadata_errors'",
    ),
    (
        "language: ko", "language: ko\neval: <your-eval>",
        "line 3: the placeholder <your-eval>; write what is meant or take it out",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "finding"), METADATA, ids=range(len(METADATA)))
def test_metadata(old, new, finding):
    assert CARD.count(old) == 1
    (found,) = findings(CARD.replace(old, new))
    assert found.startswith(finding)


def test_no_metadata():
    body = CARD.partition("\n---\n")[2]
    missing = "line 1: no metadata; the first line is ---, then comes YAML, then --- again"
    assert findings(body) == [missing]
    assert findings("---\nlanguage: ko\n")[1] == missing
    assert findings(f"---\n---\n{body}")[0] == "README.md: language is missing; write language: ko"
    assert findings(f"---\n- ko\n---\n{body}") == [f"README.md: {UNREADABLE}repo card metadata block should be a dict"]
    assert findings(" \n") == ["README.md: the card is empty"]
    assert findings("\ufeff" + CARD) == ["line 1: a byte order mark hides the metadata; save it as UTF-8 without one"]


def test_license_other():
    card = CARD.replace("license: cc-by-nc-sa-4.0", "license: other").replace("base_model: skt/kogpt2-base-v2\n", "")
    assert findings(card) == ["line 3: license other needs license_name and license_link"]
    more = "license: other\nlicense_name: own\nlicense_link: LICENSE\n"
    assert findings(card.replace("license: other\n", more)) == []


@pytest.mark.parametrize("index", ["3", "[x]", "[{name: x}]", "[{name: x, results: [{task: 1}]}]", "[{results: []}]"])
def test_a_model_index_that_the_hub_cannot_read(index):
    head, body = CARD.partition("model-index:")[0], CARD.partition("\n---\n")[2]
    (found,) = findings(f"{head}model-index: {index}\n---\n{body}")
    assert found.startswith(f"README.md: {UNREADABLE}")
