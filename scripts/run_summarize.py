"""Fine-tune a causal language model to summarize Korean documents, measure it, and leave a folder to use.

python scripts/run_summarize.py --model skt/kogpt2-base-v2
python scripts/run_summarize.py --model MODEL --train_file news.csv --column_map document=body,summary=title
python scripts/run_summarize.py --model MODEL --sample_data
"""

from __future__ import annotations

from tasks import get_task
from tasks.errors import user_errors
from tasks.publishing.run import preflight_run, publish_run
from tasks.training.arguments import parse_arguments


def main() -> None:
    """The whole job, in order."""
    task = get_task("summarize")
    model_args, data_args, generation_args, training_args, publish_args = parse_arguments(task, __doc__)
    preflight_run(task, model_args, data_args, training_args, publish_args)  # what the Hub would refuse after training

    # Imported now, so that --help and mistakes in the arguments answer at once.
    from transformers import set_seed

    from tasks.inference.generation import generation_config
    from tasks.inference.predicting import Predictor, generation_settings
    from tasks.publishing.recording import RunRecorder
    from tasks.run_folder import RunConfig
    from tasks.training.adapters import add_adapter
    from tasks.training.collator import CompletionCollator
    from tasks.training.encoding import Encoder, sequence_length
    from tasks.training.modeling import load_config, load_model
    from tasks.training.output_folder import check_output_dir, clear_output_dir
    from tasks.training.preparing import RunData
    from tasks.training.results import finish
    from tasks.training.tokenization import add_separators, load_tokenizer
    from tasks.training.trainer import CompletionTrainer

    checkpoint = check_output_dir(task, training_args)
    set_seed(training_args.seed)

    # Rows from files, the Hub or the sample; they are read when they are needed.
    splits = ("train", "validation", "test") if training_args.do_train else ("validation", "test")
    data = RunData(task, data_args, training_args, splits)

    # A tokenizer that carries Korean and has one token a separator.
    config = load_config(model_args)
    tokenizer, appended_ids = add_separators(load_tokenizer(model_args, config), task.separators)

    # Token ids, the loss on summary and eos alone. What cannot fit into the model is found here, before training.
    settings = generation_settings(task, generation_args)
    encoder = Encoder(tokenizer, sequence_length(data_args.max_length, tokenizer), settings["max_new_tokens"])
    datasets, examples, counts = data.encode(encoder)

    model = load_model(model_args, tokenizer, appended_ids)
    model.generation_config = generation_config(settings, tokenizer)
    predictor = Predictor(task, model, encoder, settings, training_args.generation_batch_size, training_args.seed)
    run_config = RunConfig.of(task, model_args.model, data_args, encoder, settings)
    recorder = RunRecorder(task, run_config, model_args, data_args, publish_args)
    trainer = CompletionTrainer(
        model=add_adapter(model, model_args, tokenizer, task.separators),  # the model itself without --lora_r
        args=training_args,
        train_dataset=datasets.get("train"),
        eval_dataset=datasets["validation"],
        data_collator=CompletionCollator(tokenizer),
        processing_class=tokenizer,
        run_config=run_config,
        merge_adapter=model_args.merge_adapter,
        callbacks=[recorder],
        score_task=lambda: task.score(predictor.predict(examples["validation"])),
    )
    train_metrics = {}
    if training_args.do_train:
        clear_output_dir(training_args)
        train_metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
        trainer.save_model()
        trainer.save_state()

    # ROUGE on the validation and test rows, beside the lead sentence's.
    finish(trainer, predictor, examples, counts, train_metrics)

    # The model card; with --push_to_hub the upload.
    publish_run(trainer, recorder.report, publish_args)


if __name__ == "__main__":
    with user_errors():
        main()
