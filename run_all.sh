#!/usr/bin/env bash
# The whole job. From a fresh clone, with nothing installed:
#
#   bash run_all.sh                               tokenizer and small GPT-2 from scratch on the bundled sample, then the four
#                                                 tasks on top of it; needs no network but for installing, under 10 minutes
#   bash run_all.sh --model skt/kogpt2-base-v2    the four tasks on the documented Hub datasets; any flag of the scripts
#                                                 may follow, such as --bf16 or --max_train_samples 5000
#
# Results go to outputs/run_all; set OUT to put them elsewhere.
cd "$(dirname "$0")"
source scripts/setup_venv.sh
out=${OUT:-outputs/run_all}
export TOKENIZERS_PARALLELISM=false

if [ $# -gt 0 ]; then
    for task in generate summarize nli qa; do
        cap=()
        # Wikipedia has 647,897 articles; a share of them shows what the model learns. Flags given by hand come later and win.
        [ $task = generate ] && cap=(--max_train_samples 20000 --max_eval_samples 1000 --validation_split 0.01)
        python scripts/run_$task.py --output_dir "$out/$task" --overwrite_output_dir "${cap[@]}" "$@"
    done
    python scripts/results_table.py "$out"/{generate,summarize,nli,qa}
    exit
fi

# A model of 2 million parameters knows nothing but the sample: learning rates are higher and epochs more than for a
# pretrained model, whose defaults the scripts carry.
quiet=(--sample_data --overwrite_output_dir --disable_tqdm true --logging_steps 50)
