"""Every format of secret, in every kind of file that is sent. All are made up, and put together from pieces."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.errors import UserError
from tasks.publishing.secrets import find_secrets, scan_file
from tasks.publishing.staging import check_secrets

DIGITS, HEX = string.digits, "0123456789abcdef"
AN, UP = string.ascii_letters + DIGITS, string.ascii_uppercase + DIGITS


def formats(seed: int) -> dict[str, str]:
    """Family -> a secret of it."""
    draw = random.Random(seed)

    def an(n: int, letters: str = AN) -> str:
        """``n`` characters, two digits in front so that no draw is all letters."""
        return "".join(draw.choice(letters) for _ in range(n))

    def mixed(n: int) -> str:
        return f"{an(3)}{an(1, DIGITS)}{an(n - 5)}{an(1, DIGITS)}"

    return {
        "Hugging Face": "hf" + "_" + an(34), "Hugging Face OAuth": "hf" + "_oauth_" + mixed(40),
        "Hugging Face JWT": "hf" + "_jwt_eyJ" + an(30) + "." + mixed(60) + "." + an(43),
        "GitHub": "gh" + "p_" + an(36), "GitHub fine-grained": "github" + "_pat_" + an(22) + "_" + an(59),
        "GitLab": "gl" + "pat-" + an(20), "GitLab runner": "gl" + "rt-" + an(20), "Atlassian": "ATA" + "TT3xFfGF0" + an(60),
        "AWS id": "AKI" + "A" + an(16, UP), "AWS secret": "aws_secret_access_key = " + an(40, AN + "/+"),
        "AWS secret in JSON": '"SecretAccess' + 'Key": "' + an(40, AN + "/+") + '"',
        "Google API": "AI" + "za" + an(35), "Google OAuth": "GOC" + "SPX-" + an(28), "Google access": "ya" + "29." + an(80),
        "Azure storage": "DefaultEndpointsProtocol=https;AccountName=a;Account" + "Key=" + an(86, AN + "/+") + "==",
        "Azure bus": "Endpoint=sb://a.servicebus.windows.net/;SharedAccess" + "Key=" + an(43, AN + "/+") + "=",
        "Azure signature": "https://a.blob.core.windows.net/c?sv=2022-11-02&sig" + "=" + an(43) + "%3D",
        "Azure client secret": an(3) + "8" + "Q~" + an(34),
        "Naver Cloud": "ncp" + "_iam_" + an(32), "CLOVA": "nv" + "-" + an(32, HEX) + an(4),
        "NCP header": "X-NCP-APIGW-API-" + "KEY: " + an(40), "Naver": "naver_client_" + "secret = '" + mixed(10) + "'",
        "Kakao": "Authorization: Kakao" + "AK " + an(32, HEX), "Kakao REST": "KAKAO_REST_API_" + "KEY=" + an(32, HEX),
        "Upstage": "up" + "_" + mixed(29), "Toss": "live" + "_sk_" + mixed(32),
        "OpenAI": "s" + "k-" + mixed(48), "OpenAI project": "s" + "k-proj-" + mixed(60),
        "Anthropic": "s" + "k-ant-api03-" + mixed(80), "OpenRouter": "s" + "k-or-v1-" + an(64, HEX),
        "Groq": "gs" + "k_" + an(52), "xAI": "xa" + "i-" + an(80), "Replicate": "r8" + "_" + an(37),
        "Perplexity": "ppl" + "x-" + an(48), "NVIDIA": "nva" + "pi-" + an(64), "Cerebras": "cs" + "k-" + an(48),
        "LangSmith": "ls" + "v2_pt_" + an(32, HEX) + "_" + an(10, HEX), "Pinecone": "pc" + "sk_" + an(60),
        "Tavily": "tv" + "ly-" + mixed(32), "W&B": "WANDB_API_" + "KEY=" + an(40, HEX),
        "Kaggle": '{"username":"me","key' + '":"' + an(32, HEX) + '"}',
        "Slack": "xo" + "xb-" + an(12, DIGITS) + "-" + an(24),
        "Slack app": "xa" + "pp-1-" + an(11, UP) + "-" + an(12, DIGITS),
        "Slack hook": "https://hooks.slack" + ".com/services/T" + an(8, UP) + "/B" + an(8, UP) + "/" + an(24),
        "Discord hook": "https://discord" + ".com/api/webhooks/" + an(18, DIGITS) + "/" + an(68),
        "Discord bot": "M" + an(23) + "." + an(6) + "." + an(38), "Telegram": an(9, "123456789") + ":A" + "A" + an(33),
        "npm": "np" + "m_" + an(36), "npmrc": "//registry.example/:_auth" + "Token=" + an(36),
        "PyPI": "pyp" + "i-AgEIcHlwaS5vcmc" + an(60), "RubyGems": "ruby" + "gems_" + an(48, HEX),
        "Docker": "dck" + "r_pat_" + an(27), "SendGrid": "S" + "G." + an(22) + "." + an(43),
        "Mailgun": "ke" + "y-" + an(32, HEX),
        "Mailchimp": an(32, HEX) + "-u" + "s12", "Brevo": "xkey" + "sib-" + an(64, HEX),
        "Stripe": "s" + "k_live_" + an(24), "Square": "sq0" + "atp-" + an(22), "Shopify": "shp" + "at_" + an(32, HEX),
        "Databricks": "da" + "pi" + an(32, HEX), "DigitalOcean": "do" + "p_v1_" + an(64, HEX), "Vault": "hv" + "s." + an(90),
        "Supabase": "sb" + "p_" + an(40, HEX), "Alibaba": "LT" + "AI" + an(20), "New Relic": "NR" + "AK-" + an(27, UP),
        "Grafana": "gl" + "sa_" + an(32) + "_" + an(8, HEX), "Postman": "PM" + "AK-" + an(24, HEX) + "-" + an(34, HEX),
        "Notion": "nt" + "n_" + an(46), "Linear": "li" + "n_api_" + an(40),
        "Airtable": "pa" + "t" + an(14) + "." + an(64, HEX),
        "Figma": "fi" + "gd_" + an(40), "Twilio": "S" + "K" + an(32, HEX),
        "OpenSSH": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + an(60),
        "PGP": "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----",
        "SSH2": "---- BEGIN SSH2 ENCRYPTED " + "PRIVATE KEY ----", "age": "AGE-SECRET-" + "KEY-1" + an(58, UP),
        "PuTTY": "PuTTY-User-Key-" + "File-3: ssh-ed25519\nPrivate-Lines: 1\n" + an(64),
        "JWT": "ey" + "J" + an(30) + ".ey" + "J" + an(60) + "." + an(43),
        "shadow": "$6$" + an(8) + "$" + an(86, AN + "./"), "bcrypt": "$2b$12" + "$" + an(53, AN + "./"),
        "netrc": "machine example.com login me pass" + "word " + an(14),
        "URL": "https://me:" + an(16) + "@example.com/", "database": "postgres" + "://me:" + an(12) + "@db.example.com/x",
        "basic": "Authorization: Basic " + an(24) + "==", "bearer": "Authorization: Bearer " + mixed(40),
        "curl": "curl -u me:" + an(12) + " https://example.com", "flag": "--hub_token " + mixed(36),
        "password=": "password" + "=" + mixed(14), "password, quoted": 'password' + ': "' + mixed(14) + '"',
        "password, chosen": "DB_PASSWORD" + "=" + "qwer" + "1234!", "pwd": "pwd" + ": " + mixed(12),
        "XML": "<password" + ">" + mixed(12) + "</password>", "table": "| password " + "| " + mixed(12) + " |",
        "query": "https://example.com/?api_key" + "=" + mixed(32), "environment": "MY_SERVICE_KEY" + "=" + mixed(32),
        "비밀번호": "비밀번호" + ": " + mixed(12),
        "비밀번호는": "비밀번호는 " + mixed(12) + "입니다", "암호": "암호" + "=" + mixed(12),
        "패스워드": "패스워드 " + ": " + mixed(12), "인증키": "인증키" + "：" + mixed(32),
        "토큰": "액세스 토큰" + ": " + mixed(32),
        "API 키": "API 키" + ": " + an(32, HEX),
        "resident registration": "900101" + "-1" + an(6, DIGITS), "foreigner": "851231" + "-5" + an(6, DIGITS),
        "주민등록번호": "주민등록번호: " + "990228" + "2" + an(6, DIGITS), "면허번호": "면허번호: 11-12" + "-345678-90",
    }  # fmt: skip


SECRETS = formats(1)


@pytest.mark.parametrize("seed", range(5))
def test_each_format_is_found(seed):
    assert [family for family, text in formats(seed).items() if not find_secrets(text)] == []


@pytest.mark.parametrize("family", SECRETS)
def test_a_kind_is_told_and_never_the_secret(family):
    kinds = find_secrets(f"앞 문장\n{SECRETS[family]}\n뒤 문장")
    assert kinds
    assert not any(word in " ".join(kinds) for word in SECRETS[family].split() if len(word) > 16)


def as_json(path: Path, secret: str) -> None:
    path.write_text(json.dumps({"model": {"vocab": {"가": 0}}, "notes": [{"note": secret}]}), "utf-8")


def as_escapes(path: Path, secret: str) -> None:
    """Every letter as the escape that JSON has for it."""
    path.write_text('{"note": "' + "".join(f"\\u{ord(letter):04x}" for letter in secret) + '"}', "utf-8")


def as_json_in_json(path: Path, secret: str) -> None:
    path.write_text(json.dumps({"note": json.dumps({"note": json.dumps([secret])})}), "utf-8")


def as_text(path: Path, secret: str) -> None:
    path.write_text(f"앞 문장\n{{# 메모 {secret} #}}\n", "utf-8")


def as_html(path: Path, secret: str) -> None:
    path.write_text("".join(f"&#{ord(letter)};" for letter in secret), "utf-8")


def as_weights(path: Path, secret: str) -> None:
    header = json.dumps({"__metadata__": {"format": "pt", "note": secret}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(range(256)))


def as_binary(path: Path, secret: str) -> None:
    path.write_bytes(b"\x0a\x05\xff\xfe" + secret.encode() + b"\x00\xff")


def as_chunk(path: Path, secret: str, **how: bool) -> None:
    info = PngInfo()
    info.add_itxt("Comment", secret, **how)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


def as_compressed_chunk(path: Path, secret: str) -> None:
    as_chunk(path, secret, zip=True)


FILES = {
    "config.json": (as_json, as_escapes, as_json_in_json), "tokenizer.json": (as_json, as_escapes),
    "tokenizer_config.json": (as_json, as_escapes), "special_tokens_map.json": (as_json,),
    "task.json": (as_json, as_escapes),
    "generation_config.json": (as_json,), "all_results.json": (as_json, as_escapes), "adapter_config.json": (as_json,),
    "predictions.jsonl": (as_json, as_escapes), "README.md": (as_text, as_html), "chat_template.jinja": (as_text,),
    "vocab.txt": (as_text,), "merges.txt": (as_text,), "tokenizer.model": (as_binary,),
    "model.safetensors": (as_weights,), "adapter_model.safetensors": (as_weights,),
    "loss.png": (as_chunk, as_compressed_chunk),
}  # fmt: skip


@pytest.mark.parametrize(("name", "write"), [(name, write) for name, ways in FILES.items() for write in ways])
def test_each_format_is_found_in_each_file(tmp_path, name, write):
    missed = []
    for family, secret in SECRETS.items():
        write(tmp_path / name, secret)
        try:
            check_secrets(tmp_path, [name], [])
            missed.append(family)
        except UserError as error:
            assert str(error).startswith(f"{name} holds what looks like a secret (")
            assert secret not in str(error)
    assert missed == []


PATHS = {
    "POSIX": ("absolute path", "/home/kim/models/a"), "Mac": ("absolute path", "/Users/kim/모델"),
    "Windows": ("Windows path", r"C:\Users\kim\model"), "Windows, long": ("Windows path", r"\\?\D:\Users\kim\model"),
    "UNC": ("network folder", r"\\nas01\share\kim\model"), "WSL": ("network folder", r"\\wsl$\Ubuntu\home\kim"),
    "own folder": ("home folder", "~/models/kim"), "URL": ("file URL", "file:///srv/models/kim"),
}  # fmt: skip


@pytest.mark.parametrize("family", PATHS)
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("tokenizer.json", as_json), ("tokenizer_config.json", as_json), ("special_tokens_map.json", as_json),
        ("added_tokens.json", as_json), ("config.json", as_json), ("chat_template.jinja", as_text),
        ("model.safetensors", as_weights), ("loss.png", as_chunk),
    ],
)  # fmt: skip
def test_paths_are_found(tmp_path, name, write, family):
    kind, path = PATHS[family]
    write(tmp_path / name, path)
    with pytest.raises(UserError, match=f"^{name} holds {kind}: "):
        check_secrets(tmp_path, [name], [])


def test_tokens_of_a_vocabulary_are_no_paths(tmp_path):
    content = {"model": {"type": "BPE", "vocab": {"/home": 0, "/var/www": 1, r"C:\Users": 2}, "merges": [["/home", "/x"]]}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "vocab.txt").write_text("/home\n/var/www\n/usr/local\n")
    check_secrets(tmp_path, ["tokenizer.json", "vocab.txt"], [])


def test_a_sentencepiece_model_tells_where_it_was_trained(tmp_path):
    as_binary(tmp_path / "tokenizer.model", "/home/kim/corpus/news.txt")
    with pytest.raises(UserError, match=r"^tokenizer.model holds absolute path: '/home/kim/corpus/news.txt'"):
        check_secrets(tmp_path, ["tokenizer.model"], [])


@pytest.mark.parametrize(
    "text",
    [
        "비밀번호는 8자 이상이어야 하고 암호: RSA-2048, 암호화 방식은 AES256GCM 입니다",
        "주민등록번호 뒷자리는 900101-1****** 처럼 가립니다. 전화 010-1234-5678, 계좌 110-234-567890",
        "1990년 1월 1일생, 2024-01-01, 900101, 20240101-123456, 9001011234567890123",
        '"password": 20846, "Ġpassword": 4821, "▁비밀번호": 311, "토큰": 12, "암호": 77, "secret": 9',
        "pass word\nto ken\nĠapi key\nse cret",
        "tokenizer_class: GPT2TokenizerFast, token: PreTrainedTokenizerFast, type: T5ForConditionalGeneration",
        "sha256:"
        + "0a1b2c3d" * 8
        + ", commit 0123456789abcdef0123456789abcdef01234567, 0123456789abcdef0123456789abcdef.bin",
        "550e8400-e29b-41d4-a716-446655440000, run-20240101_123456-a1b2c3d4, events.out.tfevents.1700000000.host.1234.0",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "ALQCAACEAAAAAACAAQAAgPz//wsAAAAAAACAAAAAAEAAAACAAAAAIAAAAA" * 40,
        "up_to_date_version_of_the_documentation, sk-learn, key-value-pairs, npm_config_registry, re_sub_pattern",
        "passwords are stored hashed; the password is required; token is expired; secret is kept",
        "https://huggingface.co/skt/kogpt2-base-v2/resolve/d0c0df48bf2b2c9350dd855021a5b216f560c0c7/config.json",
        "rouge1_syllables=0.123456789, tokens_per_second=12345.678901, API 키가 필요합니다",
    ],
)
def test_harmless_texts_pass(text):
    assert find_secrets(text) == []
    assert find_secrets(json.dumps(text)) == []


@pytest.mark.parametrize("seed", range(3))
def test_random_hashes_and_base64_pass(seed):
    draw = random.Random(seed)
    hashes = " ".join("".join(draw.choice(HEX) for _ in range(n)) for n in (32, 40, 64) * 300)
    packed = "".join(draw.choice(AN + "+/") for _ in range(200_000))
    assert find_secrets(hashes) == []
    assert find_secrets(packed) == []


def test_a_real_tokenizer_passes(kogpt2_folder):
    assert scan_file(Path(kogpt2_folder) / "tokenizer.json") == []
