"""Tokenizers of four layouts: Korean survives, separators are one token each, text never becomes a special token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tasks import TASKS, get_task
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.model_files import make_portable
from tasks.model.tokenizer import add_separators, carries_korean, load_tokenizer
from tasks.preparing.encoding import Encoder
from tests.conftest import model_args

QA = get_task("qa").separators
SUMMARIZE = get_task("summarize").separators


def load(folder: str | Path) -> PreTrainedTokenizerFast:
    arguments = model_args(str(folder))
    return load_tokenizer(arguments, load_config(arguments))


def copy(folder: str, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def edit(path: Path, change) -> None:
    state = json.loads(path.read_text("utf-8"))
    change(state)
    path.write_text(json.dumps(state, ensure_ascii=False), "utf-8")


# Loading


def test_kogpt2_loads_with_its_own_tokens_and_special_tokens(kogpt2_folder):
    tokenizer = load(kogpt2_folder)
    text = "서울은 대한민국의 수도이다."
    assert tokenizer.tokenize(text) == ["▁서울은", "▁대한민국의", "▁수도이다."]
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    # bos is </s> too: KoGPT2 was trained with it at both ends.
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token, tokenizer.mask_token) == (
        "</s>", "</s>", "<pad>", "<unk>", "<mask>",
    )  # fmt: skip
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 1, 3)


def test_plain_auto_tokenizer_loses_the_korean_of_kogpt2(kogpt2_folder):
    # Why load_tokenizer exists; once this fails, transformers has mended it and the detour can go.
    plain = AutoTokenizer.from_pretrained(kogpt2_folder)
    assert not carries_korean(plain)
    assert carries_korean(load(kogpt2_folder))


def test_every_layout_carries_korean_and_has_bos_eos_pad_and_a_length(any_folder):
    tokenizer = load(any_folder)
    text = "민준이는 도서관에서 책을 빌렸다."
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert None not in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert tokenizer.model_max_length == 128


def test_missing_pad_becomes_eos_and_a_pad_of_its_own_stays(gpt2_folder, neox_folder):
    gpt2, neox = load(gpt2_folder), load(neox_folder)
    assert gpt2.pad_token == "<|endoftext|>"
    assert neox.pad_token == "<|pad|>"


def test_missing_bos_becomes_eos(neox_folder, tmp_path):
    folder = copy(neox_folder, tmp_path)
    edit(folder / "tokenizer_config.json", lambda config: config.pop("bos_token"))
    assert load(folder).bos_token == "<|endoftext|>"


def test_emoticons_survive_decoding_without_special_tokens(kogpt2_folder):
    tokenizer = load(kogpt2_folder)
    ids = tokenizer("책을 빌렸다.ㅠㅠ😂:)").input_ids
    assert {"ㅠㅠ", "😂", ":)"} <= set(tokenizer.convert_ids_to_tokens(ids))
    back = tokenizer.decode(ids, skip_special_tokens=True)
    assert "ㅠㅠ" in back and "😂" in back and ":)" in back


def test_emoticons_are_whole_tokens_of_the_encoder_too(kogpt2_folder):
    # Splitting special tokens, which guards documents, must not take them apart.
    tokenizer = load(kogpt2_folder)
    ids, _ = Encoder(tokenizer, 64, 8).tokenize(["ㅠㅠ😂"])
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ["ㅠㅠ", "😂"]


def test_control_tokens_stay_special(kogpt2_folder):
    tokenizer = load(kogpt2_folder)
    listed = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {token.content for token in listed.values() if token.special}
    assert special >= {"<s>", "</s>", "<usr>", "<pad>", "<sys>", "<unk>", "<mask>", "<d>", "</d>", "<unused0>", "<unused99>"}
    assert not special & {"ㅠㅠ", "😂", ":)"}


@pytest.mark.parametrize(
    "text",
    ["</s>", "책을 </s> 빌렸다.", "<s>", "<summarize>", "책<summarize>책", "<unused0>", "<unused5>", "<pad>", "<mask>",
     "<|endoftext|>", "<|pad|>"],
)  # fmt: skip
def test_text_never_becomes_a_special_token(any_folder, text):
    tokenizer, _ = add_separators(load(any_folder), SUMMARIZE)
    (ids,), _ = Encoder(tokenizer, 128, 8).tokenize([text])
    decoder = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {index for index, token in decoder.items() if token.special} - {tokenizer.unk_token_id}
    if tokenizer.unk_token_id == tokenizer.eos_token_id:  # gpt2: byte-level, nothing is ever unknown
        special.add(tokenizer.eos_token_id)
    assert ids and not special & set(ids)
    if tokenizer.unk_token_id not in ids:
        assert tokenizer.decode(ids) == text


# Separators


def test_kogpt2_renames_free_slots_in_order_and_keeps_its_size(kogpt2_folder):
    before = load(kogpt2_folder)
    after, appended = add_separators(before, QA)
    assert appended == []
    assert len(after) == len(before) and after.vocab_size == before.vocab_size
    assert after.convert_tokens_to_ids(["<question>", "<answer>", "<unused2>"]) == [9, 10, 11]
    assert after.convert_ids_to_tokens([9, 10, 11]) == ["<question>", "<answer>", "<unused2>"]
    assert not {"<unused0>", "<unused1>"} & set(after.get_vocab())
    text = "서울은 대한민국의 수도이다. ㅠㅠ"
    assert after(text).input_ids == before(text).input_ids
    assert (after.eos_token, after.pad_token, after.model_max_length) == ("</s>", "<pad>", 128)


def test_a_second_task_takes_the_next_free_slots(kogpt2_folder):
    tokenizer, _ = add_separators(load(kogpt2_folder), QA)
    tokenizer, _ = add_separators(tokenizer, SUMMARIZE)
    assert tokenizer.convert_tokens_to_ids(["<question>", "<answer>", "<summarize>"]) == [9, 10, 11]


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.separators])
def test_each_separator_is_one_readable_token(any_folder, task):
    tokenizer, appended = add_separators(load(any_folder), get_task(task).separators)
    for separator in get_task(task).separators:
        (index,) = tokenizer(str(separator), add_special_tokens=False).input_ids
        assert tokenizer.decode([index]) == separator
        assert tokenizer.decode([index], skip_special_tokens=True) == ""
        assert index == Encoder(tokenizer, 64, 8).separator_id(separator)
    assert all(index < len(tokenizer) for index in appended)


def test_adding_separators_twice_changes_nothing(any_folder):
    once, _ = add_separators(load(any_folder), QA)
    again, appended = add_separators(once, QA)
    assert appended == []
    assert again.get_vocab() == once.get_vocab()


def test_layouts_without_free_slots_append(gpt2_folder):
    before = load(gpt2_folder)
    after, appended = add_separators(load(gpt2_folder), QA)
    assert appended == [len(before), len(before) + 1]
    assert after.convert_tokens_to_ids(["<question>", "<answer>"]) == appended
    assert len(after) == len(before) + 2


def test_separators_beyond_the_last_free_slot_are_appended(kogpt2_folder, tmp_path):
    folder = copy(kogpt2_folder, tmp_path)

    def one_slot_left(state):
        names = {f"<unused{i}>": f"<taken{i}>" for i in range(1, 100)}
        state["model"]["vocab"] = {names.get(token, token): index for token, index in state["model"]["vocab"].items()}
        for token in state["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])

    edit(folder / "tokenizer.json", one_slot_left)
    size = len(load(folder))
    tokenizer, appended = add_separators(load(folder), QA)
    assert tokenizer.convert_tokens_to_ids(["<question>", "<answer>"]) == [9, size]
    assert appended == [size]


def test_a_slot_of_the_plain_vocabulary_becomes_a_listed_token(kogpt2_folder, tmp_path):
    folder = copy(kogpt2_folder, tmp_path)
    edit(
        folder / "tokenizer.json",
        lambda state: state.update(added_tokens=[t for t in state["added_tokens"] if "unused" not in t["content"]]),
    )
    tokenizer, appended = add_separators(load(folder), SUMMARIZE)
    assert appended == []
    assert tokenizer("<summarize>", add_special_tokens=False).input_ids == [9]
    assert tokenizer.decode([9], skip_special_tokens=True) == ""


def test_a_separator_that_is_an_ordinary_word_of_the_vocabulary_becomes_one_token(kogpt2_folder, tmp_path):
    folder = copy(kogpt2_folder, tmp_path)

    def plain(state):
        state["model"]["vocab"]["<sep>"] = len(state["model"]["vocab"])

    edit(folder / "tokenizer.json", plain)
    tokenizer, _ = add_separators(load(folder), get_task("nli").separators)
    encoder = Encoder(tokenizer, 64, 8)
    sep, nli = (encoder.separator_id(separator) for separator in get_task("nli").separators)
    assert tokenizer("<sep><nli>", add_special_tokens=False).input_ids == [sep, nli]


# Saving


def test_saved_tokenizer_loads_in_plain_auto_tokenizer_with_the_same_ids(any_folder, tmp_path):
    tokenizer, _ = add_separators(load(any_folder), QA)
    load_config(model_args(any_folder)).save_pretrained(tmp_path)  # AutoTokenizer looks at the model's config as well
    tokenizer.save_pretrained(tmp_path)
    make_portable(tmp_path)

    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"is_local", "local_files_only"} & set(config)
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    plain = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("서울은 대한민국의 수도이다.<question>언제부터 도서관을 여나요?<answer>", "뷁 ㅠㅠ😂", "</s> <pad>"):
        assert plain(text).input_ids == tokenizer(text).input_ids
        ids = tokenizer(text).input_ids
        assert plain.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids, skip_special_tokens=True)
    for role in ("bos_token_id", "eos_token_id", "pad_token_id", "model_max_length"):
        assert getattr(plain, role) == getattr(tokenizer, role)


@pytest.mark.parametrize("names", [None, ["input_ids", "token_type_ids", "attention_mask"], ["input_ids"]])
def test_a_saved_tokenizer_names_the_inputs_of_a_causal_model(kogpt2_folder, tmp_path, names):
    """Whatever the base's own tokenizer_config.json says: nothing here is trained on token types."""
    tokenizer = load(kogpt2_folder)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | ({"model_input_names": names} if names else {})))
    make_portable(tmp_path)
    assert list(AutoTokenizer.from_pretrained(tmp_path)("서울은")) == ["input_ids", "attention_mask"]
    assert json.loads(path.read_text("utf-8"))["model_input_names"] == ["input_ids", "attention_mask"]


def test_our_own_loading_of_a_saved_folder_gives_the_same_tokenizer(any_folder, tmp_path):
    tokenizer, _ = add_separators(load(any_folder), QA)
    load_config(model_args(any_folder)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    make_portable(tmp_path)
    again, appended = add_separators(load(tmp_path), QA)
    assert appended == []
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.special_tokens_map == tokenizer.special_tokens_map


# Errors


def test_a_tokenizer_that_loses_korean_is_refused(gpt2_folder, tmp_path):
    folder = copy(gpt2_folder, tmp_path)
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "hello": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    english = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    english.save_pretrained(folder)
    with pytest.raises(
        UserError, match=r"copy: this tokenizer loses Korean: '안녕하세요.* take a model that was made for Korean"
    ):
        load(folder)


def test_a_folder_without_tokenizer_is_refused(gpt2_folder, tmp_path):
    folder = copy(gpt2_folder, tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"no tokenizer could be loaded: it has no tokenizer files; copy tokenizer.json"):
        load(folder)


@pytest.mark.parametrize("layout", ["kogpt2", "gpt2"])
@pytest.mark.parametrize("damage", ["", '{"version": "1.0", "model', "[]", '{"added_tokens": []}'])
def test_a_damaged_tokenizer_json_is_refused(request, layout, damage, tmp_path):
    folder = copy(request.getfixturevalue(f"{layout}_folder"), tmp_path)
    (folder / "tokenizer.json").write_text(damage, "utf-8")
    with pytest.raises(UserError, match=r"copy: no tokenizer could be loaded: .*tokenizer.json") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_tokenizer_config_is_refused_or_read_around(gpt2_folder, tmp_path):
    folder = copy(gpt2_folder, tmp_path)
    (folder / "tokenizer_config.json").write_text("{", "utf-8")
    try:
        tokenizer = load(folder)
    except UserError as error:
        assert "tokenizer" in str(error)
    else:
        assert carries_korean(tokenizer)


def test_a_tokenizer_without_eos_is_refused(kogpt2_folder, tmp_path):
    folder = copy(kogpt2_folder, tmp_path)
    edit(
        folder / "tokenizer.json",
        lambda state: (
            [token.update(content="<end>") for token in state["added_tokens"] if token["content"] == "</s>"]
            and state["model"]["vocab"].update({"<end>": state["model"]["vocab"].pop("</s>")})
        ),
    )
    with pytest.raises(UserError, match="has no eos token, so a model could never stop; set eos_token"):
        load(folder)
