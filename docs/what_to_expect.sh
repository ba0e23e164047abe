#!/usr/bin/env bash
# Measures the rows of docs/what-to-expect.md and writes each figure into the page, in both languages. Needs one GPU (16 GB) and a
# network. A run that was interrupted resumes, and one that is finished is not run again.
#
#   bash docs/what_to_expect.sh              every row
#   bash docs/what_to_expect.sh nsmc news    some of them
#
# MODEL, OUT and FLAGS (by default --fp16, for a T4) may be set; the page says what was run.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${MODEL:-skt/kogpt2-base-v2}
out=${OUT:-outputs/what-to-expect}
read -ra flags <<< "${FLAGS---fp16}"
wanted=" ${*:-nsmc klue-nli korquad news} "

row() { # its name, the script, its flags
    local name=$1 script=$2
    shift 2
    [[ $wanted == *" $name "* ]] || return 0
    if ! grep -qs '"finished": true' "$out/$name/run.json"; then
        python "scripts/$script.py" --model "$model" --output_dir "$out/$name" "$@" "${flags[@]}"
    fi
    python docs/what_to_expect.py "$name" "$out/$name"
}

row nsmc run_classify --num_train_epochs 3 --per_device_train_batch_size 32
row klue-nli run_nli --num_train_epochs 3 --per_device_train_batch_size 32
row korquad run_qa --num_train_epochs 3
row news run_summarize --num_train_epochs 3 --per_device_train_batch_size 8
