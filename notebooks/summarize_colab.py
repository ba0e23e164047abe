# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 내 데이터로 요약 모델 만들기
#
# KoGPT2를 학습해 글을 요약하는 모델을 만들고, 점수를 재고, 공개하는 과정입니다.
#
# 메뉴에서 **런타임 → 런타임 유형 변경 → T4 GPU**를 고른 뒤, 위에서부터 한 셀씩 실행하세요.

# %% tags=["parameters"]
REPOSITORY = ""  # 이 프로젝트의 git 주소
MODEL = "skt/kogpt2-base-v2"
FLAGS = ""  # 그 밖의 옵션. 예: "--num_train_epochs 5 --max_train_samples 2000"

# %% [markdown]
# ## 1. 설치

# %%
import os
from pathlib import Path

if not Path("scripts").is_dir():
    if not Path("project").is_dir():
        os.system(f"git clone {REPOSITORY} project")
    os.chdir("project")
    os.system("pip install -q -e '.[demo]'")

# %% [markdown]
# ## 2. 데이터
#
# 본문 열과 요약 열이 있는 CSV, 엑셀, JSONL 파일을 올립니다.
# 파일을 고르지 않으면 내장 예제로 진행합니다.

# %%
try:
    from google.colab import files

    uploaded = list(files.upload())
except ImportError:  # Colab이 아닐 때
    uploaded = []
DATA = f"--train_file {uploaded[0]}" if uploaded else "--sample_data"

# %% [markdown]
# 먼저 데이터를 어떻게 읽었는지 확인합니다. 열 이름이 다르면 `--column_map`을 `FLAGS`에 넣으세요. 예: `--column_map document=본문,summary=제목`

# %%
# !python scripts/run_summarize.py --model {MODEL} {DATA} {FLAGS} --dry_run

# %% [markdown]
# ## 3. 학습
#
# T4는 bf16을 지원하지 않으므로 fp16으로 학습합니다. GPU가 없으면 이 옵션을 뺍니다.

# %%
import torch

HALF = "--fp16" if torch.cuda.is_available() else ""
# !python scripts/run_summarize.py --model {MODEL} {DATA} {HALF} {FLAGS} --output_dir outputs/summarize --disable_tqdm true

# %% [markdown]
# ## 4. 결과
#
# 점수는 학습에 쓰지 않은 데이터로 측정했고, 이름에 `baseline`이 있는 값은 기준선의 점수입니다. 예측도 직접 읽어 보세요.

# %%
import json

import pandas as pd
from IPython.display import Image, display

results = json.loads(Path("outputs/summarize/all_results.json").read_text("utf-8"))
print({name: value for name, value in results.items() if isinstance(value, float) and not name.startswith("train")})
display(pd.read_json("outputs/summarize/predictions.jsonl", lines=True)[["prompt", "prediction", "references"]].head(10))
display(Image("outputs/summarize/loss.png"))

# %% [markdown]
# ## 5. 써 보기

# %%
from tasks.inference import load

model = load("outputs/summarize")
model({"document": "아침부터 시청 앞이 붐볐다. 시청은 남대천도서관을 5월 7일에 다시 연다고 밝혔다. 주민들은 반겼다."})

# %% [markdown]
# 다른 사람에게 보여 줄 웹 페이지는 `python scripts/demo.py outputs/summarize`로 띄웁니다. 내 컴퓨터에서 실행하면 브라우저에서 바로 열립니다.

# %% [markdown]
# ## 6. Hugging Face Hub에 올리기
#
# 먼저 무엇이 올라가는지 확인하고, 로그인한 뒤 `--dry_run`을 빼고 다시 실행하세요. 저장소는 비공개로 만들어집니다.

# %%
# !python scripts/publish.py outputs/summarize --repo_id summarize-model --dry_run
