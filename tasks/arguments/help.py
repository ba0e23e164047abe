"""What --help and --help_all show, and which flag an unknown one may mean."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Iterable

#: The flags that --help shows; a script's own come first, and all others stand in --help_all.
EVERYDAY = {
    "Model": "model lora_r vocab_size model_size n_positions",
    "Data": "train_file validation_file test_file dataset sample_data column_map max_train_samples max_length skip_bad_rows "
    "dry_run",
    "Training": "output_dir num_train_epochs learning_rate per_device_train_batch_size bf16 seed metric_for_best_model "
    "resume_from_checkpoint overwrite_output_dir",
    "Generation": "max_new_tokens num_beams do_sample",
    "Publishing": "push_to_hub hub_model_id hub_public",
}

#: It works as little as before (the error says why), and would only invite people to type a token.
UNLISTED = "hub_token"

#: What to give instead of the names on the right, which transformers 4, the Hugging Face examples, TRL, Axolotl and
#: lm-evaluation-harness use. Of several with " | " between, the first that the script has.
MEANT = {
    "--model": "pretrained_model_name_or_path base_model pretrained model_name model_path model_id config_name",
    "--model_revision": "revision",
    "--dtype": "torch_dtype",
    "--attn_implementation flash_attention_2": "use_flash_attention_2 flash_attention flash_attn",
    "--load_in_4bit": "load_in_8bit use_4bit qlora",
    "--lora_r": "use_peft use_lora lora_rank peft adapter",
    "--lora_target_modules": "target_modules lora_target_linear",
    "--dataset": "dataset_name dataset_path datasets",
    "--dataset_config": "dataset_config_name",
    "--train_file | --input_file": "data_path data_file data_files train_path train_data dataset_dir data_dir",
    "--validation_file": "eval_file dev_file valid_file eval_data val_file",
    "--validation_split": "val_set_size validation_split_percentage test_size val_size",
    "--column_map {input}=NAME": "text_column dataset_text_field context_column sentence1_key premise_column column_names",
    "--column_map {target}=NAME": "summary_column label_column label_column_name answer_column",
    "--max_length": "max_source_length max_seq_length max_seq_len seq_length sequence_len block_size model_max_length "
    "cutoff_len max_prompt_length n_ctx",
    "--max_new_tokens": "max_target_length val_max_target_length generation_max_length max_answer_length max_gen_toks "
    "max_completion_length",
    "--num_beams": "generation_num_beams",
    "--max_eval_samples": "max_val_samples max_predict_samples max_test_samples limit",
    "--learning_rate": "lr peak_lr",
    "--warmup_steps (below 1 a share)": "warmup_ratio warmup_proportion",
    "--per_device_train_batch_size | --batch_size": "batch_size train_batch_size micro_batch_size per_gpu_train_batch_size",
    "--per_device_eval_batch_size | --batch_size": "eval_batch_size per_gpu_eval_batch_size per_device_eval_batch_size",
    "--num_train_epochs": "epochs num_epochs n_epochs",
    "--gradient_accumulation_steps": "grad_accum accumulation_steps",
    "--eval_strategy": "evaluation_strategy do_eval_during_training evaluate_during_training",
    "--train_sampling_strategy group_by_length": "group_by_length",
    "--padding_free": "packing sample_packing",
    "--use_cpu": "no_cuda cpu",
    "--bf16": "half mixed_precision",
    "--lr_scheduler_type": "lr_scheduler scheduler",
    "--optim": "optimizer",
    "--seed": "random_seed",
    "--report_to": "use_wandb logger",
    "--run_name": "wandb_run_name wandb_run_id",
    "--resume_from_checkpoint last": "resume auto_resume_from_checkpoints",
    "--overwrite_output_dir": "overwrite",
    "--output_dir | --output_file": "out_dir save_dir output_path output",
    "--hub_public": "public",
    "--preprocessing_num_workers": "dataset_num_proc num_proc dataset_processes",
    "--input_file": "test_file validation_file predict_file",
}

#: The same for names without any counterpart.
NEEDLESS = {
    "logging_dir tensorboard_dir": "leave it out: a tracker of --report_to has its own folder",
    "doc_stride stride version_2_with_negative n_best_size": "leave it out: the model sets the windows over a long context",
    "pad_to_max_length fp16_backend fp16_opt_level sharded_ddp ignore_pad_token_for_loss": "leave it out: nothing needs it",
    "source_prefix prompt_template": "leave it out: the task's prompt has its own separators",
    "token use_auth_token hf_token api_key": "set HF_TOKEN in the environment, or log in once with `hf auth login`",
    "use_fast_tokenizer use_slow_tokenizer tokenizer_name": "leave it out: the model's own tokenizer.json is read",
}


def suggestion(flag: str, known: Collection[str], names: dict[str, str]) -> str:
    """How an error for the unknown ``flag`` ends: the flag that is meant by that name elsewhere, else one spelled alike.

    ``names`` are the task's input and target column, for --column_map.
    """
    name = flag.lstrip("-").replace("-", "_")
    for foreign, advice in NEEDLESS.items():
        if name in foreign.split():
            return f"; {advice}"
    for ours, foreign in MEANT.items():
        there = [choice for choice in ours.split(" | ") if choice.split()[0] in known]
        if there and name in foreign.split():
            return f"; did you mean {there[0].format(**names)}?"
    listed = [each for each in known if each not in (f"--{UNLISTED}", f"--{UNLISTED.replace('_', '-')}")]
    near = difflib.get_close_matches(flag, listed, n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else "; see --help"


def show(parser: argparse.ArgumentParser, actions: Iterable[argparse.Action], own: Collection[str], everything: bool) -> str:
    """The help of ``parser``, each of its flags once: the ``own`` ones of the script and everyday ones, or all."""
    listed: dict[str, argparse.Action] = {}
    for action in actions:
        action.option_strings = [each for each in action.option_strings if "-" not in each[2:]]  # not also --num-beams
        if action.nargs == "?" and action.option_strings:
            action.nargs = 0  # `--bf16`, although `--bf16 false` is read, too
        if action.dest in listed:  # --no_do_train, beside --do_train
            listed[action.dest].option_strings += action.option_strings
        elif action.dest != UNLISTED:
            listed[action.dest] = action
    if "model_folder" in listed:  # takes its place
        del listed["model"]
    groups = {"This script": " ".join(own)} | EVERYDAY
    formatter = parser.formatter_class(parser.prog)
    positional = [action.dest for action in listed.values() if not action.option_strings]
    formatter.add_usage(" ".join(["%(prog)s", *positional, "[flags]"]), [], [])
    formatter.add_text(parser.description)
    for title, names in groups.items():
        formatter.start_section(title)
        formatter.add_arguments(listed.pop(name) for name in names.split() if name in listed)
        formatter.end_section()
    rest = ("config", "help", "help_all")
    formatter.start_section("All others" if everything else "More")
    formatter.add_arguments(action for name, action in listed.items() if everything or name in rest)
    formatter.end_section()
    return formatter.format_help()
