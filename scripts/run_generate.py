"""Fine-tune a causal language model on plain Korean text, measure it, and leave a folder to use.

python scripts/run_generate.py --model skt/kogpt2-base-v2 --max_train_samples 20000
python scripts/run_generate.py --model MODEL --train_file corpus.txt
python scripts/run_generate.py --model MODEL --sample_data
"""

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from tasks import get_task
from tasks.arguments.command_line import parse_arguments


def main() -> None:
    """The whole job, in order."""
    task = get_task("generate")
    args = parse_arguments(task, __doc__)  # .model .data .generation .training .publishing

    # Slow to import, so --help and mistakes in the flags are answered first.
    from transformers import set_seed

    from tasks.inference.measuring import Evaluator
    from tasks.model.loading import open_encoder, open_model
    from tasks.preparing.run_data import RunData
    from tasks.publishing.run import RunRecorder, preflight, publish_run
    from tasks.training.collator import CompletionCollator
    from tasks.training.dry_run import dry_run
    from tasks.training.finishing import finish
    from tasks.training.output_folder import check_output_dir, start_run
    from tasks.training.trainer import CompletionTrainer

    preflight(task, args)  # what the Hub would refuse after hours of training
    checkpoint = check_output_dir(task, args)  # where an unfinished run resumes
    set_seed(args.training.seed)

    data = RunData(task, args.data, args.training)  # files, the Hub or the sample
    encoder = open_encoder(task, args.model, args.generation, args.data.max_length)  # keeps Korean; one token per separator
    datasets, examples = data.encode(encoder)  # the loss on the whole text; a long text becomes several sequences
    model = open_model(task, args.model, encoder)  # with --lora_r under an adapter

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
        merge_adapter=args.model.merge_adapter,
    )
    if args.training.do_train:
        start_run(task, args, checkpoint)
        trainer.train(resume_from_checkpoint=checkpoint)
        trainer.save_model()

    # Bits per character of the validation and test rows, beside character unigrams; and a look at samples.
    results = finish(trainer, data.counts)
    publish_run(trainer, recorder.report, results, args)  # the model card; with --push_to_hub the upload


if __name__ == "__main__":
    main()
