"""What looks like a secret or tells about a machine, and the much that only looks like it. No real token stands here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.publishing.secrets import ASSIGNED, OWN, excerpt, find_private, find_secrets, scan_file
from tests.helpers.fuzz import growth

HF = "hf_" + "x" * 34
RANDOM = "q8Zr3Lm" + "K0pT7wX2vB9nD"  # in two pieces, as all of them: no scanner should stop at this repository
HEX = "0a1b2c3d" + "4e5f6a7b"
PEM = "-----BEGIN " + "PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "minsu")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-07.lab.kr")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (HF, "Hugging Face token"),
        (f"HF_TOKEN={HF}", "Hugging Face token"),
        (f"토큰은{HF}이다", "Hugging Face token"),
        ("api_org_" + "x" * 34, "Hugging Face token"),
        *[(f"gh{kind}_" + "x1" * 18, "GitHub token") for kind in "pousr"],
        ("github_pat_" + "x1" * 11 + "_" + "y" * 59, "GitHub token"),
        ("glpat-" + "x1" * 10, "GitLab token"),
        ("AKIA" + "X1" * 8, "AWS access key"),
        ("ASIA" + "X1" * 8, "AWS access key"),
        ("AIza" + "x" * 35, "Google API key"),
        ("sk-" + "a1B2" * 12, "OpenAI or Anthropic API key"),
        ("sk-proj-" + "a1B2_c3-" * 5, "OpenAI or Anthropic API key"),
        ("sk-ant-" + "api03-" + "a1B2" * 9, "OpenAI or Anthropic API key"),
        ("sk_" + "live_" + "a1B2" * 6, "Stripe key"),
        ("xoxb-" + "123456789012-abc", "Slack token"),
        (PEM, "private key"),
        (PEM.replace("PRIVATE", "OPENSSH PRIVATE"), "private key"),
        (PEM.replace("PRIVATE", "RSA PRIVATE"), "private key"),
        ("eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3" + "." + "x" * 43, "JSON web token"),
        ("WANDB_API_KEY=" + "0a" * 20, "W&B API key"),
        ("wandb login " + "0a" * 20, "W&B API key"),
        ("wandb_v1_" + "x1" * 20, "W&B API key"),
        (f"KAKAO_REST_API_KEY: {HEX * 2}", "Kakao key"),
        ('NAVER_CLIENT_SECRET = "' + "dfs0R1hb84" + '"', "Naver client secret"),
        ("https://oauth2:" + "abcd1234@example.com/x.git", "password in a URL"),
        ("postgres://me:" + "s3cret@db/x", "password in a URL"),
        (f"password='{RANDOM[:12]}'", ASSIGNED),
        (f'"hub_token": "{RANDOM}"', ASSIGNED),
        (f"client_secret: {HEX}", ASSIGNED),
        (f"api-key => {RANDOM}", ASSIGNED),
        (f"비밀번호: {RANDOM}", ASSIGNED),
        (f"Authorization: Bearer {RANDOM}", ASSIGNED),
    ],
)
def test_secret(text, kind):
    assert find_secrets(text) == [kind]
    assert find_secrets(f"앞 문장\n`{text}` 뒤 문장") == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unused0>"',
        '"eos_token": {"content": "</s>", "lstrip": false}',
        '"eos_token_id": 1, "max_new_tokens": 128, "tokens_per_second": 12345.678901',
        '"tokenizer_class": "PreTrainedTokenizerFast", "secret": 51199',
        "token: kogpt2-base-v2-summarize-2024",
        "token=os.environ.get('HF_TOKEN')",
        "password=getpass.getpass()",
        "token: ${{ secrets.HF_TOKEN }}",
        "HF_TOKEN=hf_xxxxxxxx",
        "hf_transformers_summarization_with_kogpt2_base_v2",
        "sk-telecom-kogpt2-base-finetuned-korean-v2",
        "https://user:password@host, https://oauth2:$HF_TOKEN@host",
        "https://huggingface.co/skt/kogpt2-base-v2:8080",
        f"wandb run of commit {HEX * 2}{HEX[:8]}",
        f"commit `{HEX * 2}{HEX[:8]}`, sha256:{HEX * 4}",
        "비밀번호는 적지 않는다. 토큰 3개, token 3",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_no_secret(text):
    assert find_secrets(text) == []


def test_secrets_are_never_told():
    text = f"{HF} and password={RANDOM}"
    assert find_secrets(text) == ["Hugging Face token", ASSIGNED]
    assert not any(HF in kind or RANDOM in kind for kind in find_secrets(text))
    assert excerpt(f"/home/me/{HF}") == "(not shown: it holds a secret)"
    assert excerpt("가 \n 나" + "다" * 100) == "가 나" + "다" * 56 + "…"


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("/home/me/model", "absolute path", "/home/me/model"),
        ("in `/root`.", "absolute path", "/root"),
        ("see /tmp, then", "absolute path", "/tmp"),
        ("model: /mnt/disk1/models/kogpt2 (old)", "absolute path", "/mnt/disk1/models/kogpt2"),
        ("--out=/data/me/run", "absolute path", "/data/me/run"),
        ('"/data2/x y"', "absolute path", "/data2/x"),
        ("경로:/Users/kim/모델", "absolute path", "/Users/kim/모델"),
        ("/content/drive/MyDrive/kogpt2", "absolute path", "/content/drive/MyDrive/kogpt2"),
        (r"C:\Users\kim\model", "Windows path", r"C:\Users\kim\model"),
        (r'"d:\\data\\kogpt2"', "Windows path", r"d:\\data\\kogpt2"),
        ("C:/Users/kim", "Windows path", "C:/Users/kim"),
        ("[x](file:///srv/x.png)", "file URL", "file:///srv/x.png"),
        ("cache in ~/.cache/huggingface", "home folder", "~/.cache/huggingface"),
        ("mail minsoo.kim@lab.kr!", "e-mail address", "minsoo.kim@lab.kr"),
        ("trained by minsu가", "user name", "minsu"),
        ("outputs/minsu/run1", "user name", "minsu"),
        ("on gpu-07.lab.kr today", "host name", "gpu-07.lab.kr"),
        ("host gpu-07, GPU 0", "host name", "gpu-07"),
    ],
)
def test_private(text, kind, what):
    assert find_private(text) == [(kind, what)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://huggingface.co/docs/hub/model-cards and https://example.com/home/me/x?y=/tmp/z",
        "skt/kogpt2-base-v2, me/model, minsu/kogpt2-summarize, data/train.jsonl",
        "outputs/summarize ./tmp/x ../data/y {out}/tmp/x $HOME/data/x",
        "1/2, 3 / 4, and/or, km/h, 읽기/쓰기, 2024/01/02, train/data/x, a /b c",
        "document <summarize> summary </s> <d> </d> </tmp> <s>/<pad>",
        r"Q:\nA:\n",
        "git clone git@github.com:SKT-AI/KoGPT2.git; name@example.com; torch@2.1.0; @misc{x}",
        "~5 %, ~~/old/~~, `~`, /",
        "POST /v1/chat/completions, /api/models",
        "minsuk, kminsu, gpu-075",
    ],
)
def test_not_private(text):
    assert find_private(text) == []


@pytest.mark.parametrize("name", ["root", "user", "Ubuntu", "admin", "me", ""])
def test_common_names_tell_nothing(monkeypatch, name):
    monkeypatch.setattr("getpass.getuser", lambda: name)
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert find_private(f"the {name} of localhost") == []


def test_user_without_a_name(monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert find_private("the user") == []


def test_excerpts_are_short_and_told_once():
    long = "/home/me/" + "x" * 100
    assert find_private(f"{long} {long}") == [("absolute path", long[:59] + "…")]


@pytest.mark.parametrize(
    "text",
    [
        "eyJ",
        "hf_",
        "a.",
        "://",
        "a:",
        "x@",
        "a@a.",
        "/home/",
        "token=",
        "secret=a1",
        "kakaokey ",
        "sk-ant-",
        "C:/Users/",
        "~/a",
    ],
)
def test_no_text_takes_long(text):
    assert growth(find_secrets, text, 2_000) < 24
    assert growth(find_private, text, 2_000) < 24


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "kinds"),
    [
        ("a.json", f'{{"hub_token": "{RANDOM}"}}'.encode(), [ASSIGNED]),
        ("a.txt", "가".encode() + HF.encode(), ["Hugging Face token"]),
        ("a.bin", b"\0\xff" + HF.encode(), ["Hugging Face token"]),
        ("a.bin", b"\0\xff" + PEM.encode(), ["private key"]),
        ("a.png", b"\0\xffAKIA" + b"X1" * 8, ["AWS access key"]),
        ("a.txt", b"my-own-token", [OWN]),
        ("a.txt", HF.encode() + b" my-own-token", ["Hugging Face token", OWN]),
        ("a.txt", "한국어".encode(), []),
        ("empty", b"", []),
    ],
)
def test_scan_file(tmp_path, name, content, kinds):
    assert scan_file(_file(tmp_path / name, content), ["my-own-token", "", "  ", "short"]) == kinds


def _safetensors(path: Path, note: str, weights: bytes) -> Path:
    header = json.dumps({"__metadata__": {"note": note}}).encode()
    return _file(path, len(header).to_bytes(8, "little") + header + weights)


def test_of_safetensors_only_the_header_is_text(tmp_path):
    path = tmp_path / "model.safetensors"
    assert scan_file(_safetensors(path, f"token={RANDOM}", b"\0" * 99)) == [ASSIGNED]
    assert scan_file(_safetensors(path, "", b"\0" * 99 + HF.encode())) == []
    assert scan_file(_file(path, b"\xff" * 8 + HF.encode())) == ["Hugging Face token"]  # damaged: no header to trust


def test_an_unreadable_file_is_not_published(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt: No such file or directory; it cannot be searched for secrets"):
        scan_file(tmp_path / "none.txt")
