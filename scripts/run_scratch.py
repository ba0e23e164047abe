"""Train a Korean tokenizer and a GPT-2 from nothing, measure them, and leave a base model for the other scripts.

python scripts/run_scratch.py --train_file corpus.txt --vocab_size 52000 --model_size small
python scripts/run_scratch.py --train_file "corpus/*.jsonl" --model_size medium --bf16 --num_train_epochs 1
python scripts/run_scratch.py --sample_data --vocab_size 4000 --model_size mini --n_positions 512
"""

from __future__ import annotations

from tasks import get_task
from tasks.errors import user_errors
from tasks.publishing.run import preflight_run, publish_run
from tasks.training.arguments import parse_arguments
from tasks.training.scratch_arguments import ScratchArguments, ScratchTrainingArguments


def main() -> None:
    """The whole job, in order."""
    task = get_task("scratch")
    scratch_args, data_args, generation_args, training_args, publish_args = parse_arguments(
        task, __doc__, model_type=ScratchArguments, training_type=ScratchTrainingArguments
    )
    preflight_run(task, scratch_args, data_args, training_args, publish_args)  # what the Hub would refuse after training

    # Imported now, so that --help and mistakes in the arguments answer at once.
    from transformers import GPT2LMHeadModel, set_seed

    from tasks.inference.generation import generation_config
    from tasks.inference.predicting import Predictor, generation_settings
    from tasks.publishing.recording import RunRecorder
    from tasks.run_folder import RunConfig
    from tasks.training.collator import CompletionCollator
    from tasks.training.encoding import Encoder, sequence_length
    from tasks.training.modeling import align_special_tokens, gpt2_config
    from tasks.training.output_folder import check_output_dir, clear_output_dir
    from tasks.training.preparing import RunData
    from tasks.training.results import finish
    from tasks.training.scratch_tokenizer import saved_tokenizer, tokenizer_of
    from tasks.training.trainer import CompletionTrainer

    checkpoint = check_output_dir(task, training_args)
    set_seed(training_args.seed)
    data = RunData(task, data_args, training_args, ("train", "validation", "test"))

    # The tokenizer sees the training rows alone, and holds the separators of every task to come.
    tokenizer = saved_tokenizer(checkpoint) or tokenizer_of(
        data, scratch_args.vocab_size, task.separators, scratch_args.n_positions
    )
    if len(tokenizer) < scratch_args.vocab_size:
        print(f"the corpus gave {len(tokenizer):,} tokens, fewer than the {scratch_args.vocab_size:,} asked for")

    # Token ids, the loss on the whole text; a text that is too long becomes several sequences.
    settings = generation_settings(task, generation_args)
    encoder = Encoder(tokenizer, sequence_length(data_args.max_length, tokenizer), settings["max_new_tokens"])
    datasets, examples, counts = data.encode(encoder)

    model = GPT2LMHeadModel(gpt2_config(scratch_args.model_size, tokenizer, scratch_args.dropout))
    align_special_tokens(model, tokenizer)
    model.generation_config = generation_config(settings, tokenizer)
    predictor = Predictor(task, model, encoder, settings, training_args.generation_batch_size, training_args.seed)
    run_config = RunConfig.of(task, f"GPT-2 {scratch_args.model_size} from scratch", data_args, encoder, settings)
    recorder = RunRecorder(task, run_config, scratch_args, data_args, publish_args)
    trainer = CompletionTrainer(
        model=model,
        args=training_args,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        data_collator=CompletionCollator(tokenizer),
        processing_class=tokenizer,
        run_config=run_config,
        callbacks=[recorder],
        score_task=lambda: task.score(predictor.predict(examples["validation"])),
    )
    clear_output_dir(training_args)
    train_metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    trainer.save_model()
    trainer.save_state()

    # Bits per character of the validation and test rows, beside character unigrams; tokens per character of the tokenizer.
    finish(trainer, predictor, examples, counts, train_metrics)

    # The model card; with --push_to_hub the upload.
    publish_run(trainer, recorder.report, publish_args)


if __name__ == "__main__":
    with user_errors():
        main()
