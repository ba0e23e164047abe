"""Train a Korean tokenizer and a GPT-2 or Qwen3 from nothing, measure them, and leave a base model for the other scripts.

python scripts/run_scratch.py --train_file corpus.txt --vocab_size 52000 --model_size small
python scripts/run_scratch.py --train_file "corpus/*.jsonl" --model_size medium --bf16 --num_train_epochs 1
python scripts/run_scratch.py --train_file corpus.txt --architecture qwen3 --optim muon
python scripts/run_scratch.py --train_file corpus.txt --budget_hours 2
python scripts/run_scratch.py --sample_data --vocab_size 4000 --model_size mini --n_positions 512
"""

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from tasks import get_task
from tasks.arguments.command_line import parse_arguments


def main() -> None:
    """The whole job, in order."""
    task = get_task("scratch")
    args = parse_arguments(task, __doc__)  # .model .data .generation .training .publishing

    # Slow to import, so --help and mistakes in the flags are answered first.
    from transformers import set_seed

    from tasks.inference.measuring import Evaluator
    from tasks.model.new_model import new_encoder, new_model
    from tasks.preparing.run_data import RunData
    from tasks.publishing.run import RunRecorder, preflight, publish_run
    from tasks.training.budget import plan
    from tasks.training.collator import CompletionCollator
    from tasks.training.dry_run import dry_run
    from tasks.training.finishing import finish
    from tasks.training.output_folder import check_output_dir, start_run
    from tasks.training.trainer import CompletionTrainer

    preflight(task, args)  # what the Hub would refuse after hours of training
    checkpoint = check_output_dir(task, args)  # where an unfinished run resumes
    set_seed(args.training.seed)

    data = RunData(task, args.data, args.training)  # files, the Hub or the sample
    encoder = new_encoder(task, args, data, checkpoint)  # a tokenizer of the training rows, with the separators of all tasks
    datasets, examples = data.encode(encoder)  # the loss on the whole text; a long text becomes several sequences
    plan(args, data, encoder, datasets["train"], checkpoint)  # --budget_hours, --tokens: the size, batch, rate and steps
    model = new_model(args.model, encoder)  # an empty GPT-2 or Qwen3

    if args.data.dry_run:
        return dry_run(task, args, data, encoder, model, datasets, examples)  # what was understood; nothing is written

    recorder = RunRecorder(args, encoder, data)  # for the model card
    trainer = CompletionTrainer(
        model=model,
        args=args.training,
        data_collator=CompletionCollator(encoder.tokenizer),  # a DataCollatorForLanguageModeling
        train_dataset=datasets.get("train"),
        eval_dataset=datasets["validation"],
        processing_class=encoder.tokenizer,
        evaluator=Evaluator(task, model, encoder, args.training, examples),
        run_config=recorder.report.config,
        callbacks=[recorder],
    )
    if args.training.do_train:
        start_run(task, args, checkpoint)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()

    # Bits per character of the validation and test rows, beside character unigrams; tokens per character of the tokenizer.
    results = finish(trainer, data.counts)
    publish_run(trainer, recorder.report, results, args)  # the model card; with --push_to_hub the upload


if __name__ == "__main__":
    main()
