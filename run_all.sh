#!/usr/bin/env bash
# The whole job. From a fresh clone, with nothing installed:
#
#   bash run_all.sh                               tokenizer and small GPT-2 from scratch on the bundled sample, then six
#                                                 tasks on top of it, their cards, and a dry run of publishing one; needs no
#                                                 network but for installing
#   bash run_all.sh --model skt/kogpt2-base-v2    the six tasks on the documented Hub datasets; any flag of the scripts
#                                                 may follow, such as --bf16 or --max_train_samples 5000
#
# Results go to outputs/run_all; set OUT to put them elsewhere.
cd "$(dirname "$0")"
source scripts/setup_venv.sh
out=${OUT:-outputs/run_all}
export TOKENIZERS_PARALLELISM=false

if [ $# -gt 0 ]; then
    # Wikipedia has 647,897 articles; a share of them shows what a model learns. Flags given by hand come later and win.
    python scripts/run_generate.py --output_dir "$out/generate" --overwrite_output_dir \
        --max_train_samples 20000 --max_eval_samples 1000 --validation_split 0.01 "$@"
    for task in summarize nli qa classify chat; do
        python scripts/run_$task.py --output_dir "$out/$task" --overwrite_output_dir "$@"
    done
    # A licence that is not settled, or data that may not be adapted, is told here and stops nothing.
    for task in generate summarize nli qa classify chat; do
        python scripts/publish.py "$out/$task" --repo_id "$task" --dry_run > "$out/publish_dry_run_$task.txt" || true
    done
    python scripts/compare.py "$out"/{generate,summarize,nli,qa,classify,chat} --output_file "$out/compare.html"
    exit
fi

# A model of 1 million parameters knows nothing but the sample: learning rates are higher and epochs more than for a
# pretrained model, whose defaults the scripts carry.
quiet=(--sample_data --overwrite_output_dir --disable_tqdm true --logging_steps 50)

echo "== a tokenizer and a small GPT-2 from scratch"
python scripts/run_scratch.py "${quiet[@]}" --output_dir "$out/scratch" --model_size mini --vocab_size 1500 --n_positions 256 \
    --dropout 0 --learning_rate 3e-3 --num_train_epochs 5 --num_samples 8

fine_tune() {
    echo "== $1: train, evaluate, predict"
    python scripts/run_$1.py "${quiet[@]}" --output_dir "$out/$1" --model "$out/scratch" --learning_rate 1e-3 \
        --num_train_epochs "$2" --num_samples 8 "${@:3}"
}
fine_tune generate 2
fine_tune summarize 8
fine_tune nli 6
fine_tune qa 8
fine_tune classify 8
fine_tune chat 8 --max_new_tokens 32

echo "== the trained models at work"
python scripts/predict.py "$out/summarize" --output_format text --prompt \
    "아침부터 시청 앞이 붐볐다. 시청은 남대천도서관을 5월 7일에 다시 연다고 밝혔다. 주민들은 반겼다."
python scripts/predict.py "$out/nli" --prompt $'온종일 비가 왔다. 김민준 씨는 시장에 갔다.\t김민준 씨는 시장에 가지 않았다.'
python scripts/predict.py "$out/classify" --output_format text --top_labels 3 --prompt \
    "김민준 씨가 가게에 전화했다. 목소리는 차분했다. 의자 하나를 주문했다. 물을 한 모금 마셨다. 주문을 취소해 달라고 했다. 한동안 말이 없었다."
python scripts/predict.py "$out/chat" --output_format text --prompt "김밥 말고 국수 주세요."
python scripts/evaluate_model.py "$out/qa" --sample_data --output_dir "$out/evaluate-qa"

echo "== what would be published"
python scripts/publish.py "$out/summarize" --repo_id korean-summarize-mini --license apache-2.0 --dry_run \
    > "$out/publish_dry_run.txt"
sed '/^$/q' "$out/publish_dry_run.txt" # the files; the card follows there, and lies in $out/summarize/README.md

echo
python scripts/compare.py "$out"/{scratch,generate,summarize,nli,qa,classify,chat} --output_file "$out/compare.html"
