"""Publish a finished run to the Hugging Face Hub: card, checks, one commit, and what arrived compared.

python scripts/publish.py outputs/summarize-kogpt2-base-v2 --repo_id me/kogpt2-summarize --dry_run
python scripts/publish.py outputs/summarize-kogpt2-base-v2 --repo_id me/kogpt2-summarize --tag v1
python scripts/publish.py outputs/summarize-kogpt2-base-v2 --repo_id me/kogpt2-summarize --space
python scripts/publish.py --check outputs/summarize-kogpt2-base-v2
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.publishing import PublishArguments
from tasks.errors import UserError


@dataclass
class ReleaseArguments:
    """Where the release goes, and what it holds."""

    repo_id: str | None = HfArg(default=None, help="NAME/MODEL on the Hub; NAME is yours and MODEL the folder's by default.")
    dry_run: bool = HfArg(default=False, help="Do everything but send; needs no network and no login.")
    check: str | None = HfArg(default=None, help="Only list what is wrong with a card: a README.md, or a folder with one.")
    revision: str | None = HfArg(default=None, help="Branch to commit to, made where there is none; main.")
    tag: str | None = HfArg(default=None, help="Tag of this release, such as v1.")
    create_pr: bool = HfArg(default=False, help="Open a pull request instead of committing.")
    commit_message: str | None = HfArg(default=None, help="First line of the commit; task and main figure.")
    predictions: bool = HfArg(default=False, help="Send predictions.jsonl too: it holds the validation rows.")
    space: bool = HfArg(default=False, help="Then make a Space that shows the model in a browser, as scripts/demo.py does.")
    keep_card: Literal["local", "hub"] | None = HfArg(
        default=None, help="Whose text counts where the card was edited both here and on the Hub."
    )


def main() -> None:
    """Check, or publish, or show what would be published."""
    types = (ReleaseArguments, PublishArguments)
    args, publish_args, run_folder = parse_dataclasses(types, __doc__, positional="run_folder", required=False)

    # Imported now, so that --help and mistakes in the arguments answer at once.
    if args.check:
        from tasks.publishing.lint import lint_path

        findings = lint_path(Path(args.check), args.repo_id)
        for finding in findings:
            print(finding)
        if findings:
            raise UserError(f"{args.check}: what is wrong with the card is listed above ({len(findings)})")
        print(f"{args.check}: nothing is wrong with the card")
        return
    if run_folder is None:
        raise UserError("name the folder of a finished run, or a card with --check")

    from tasks.publishing.facts import load_report
    from tasks.publishing.hub import Destination, check_repo_id
    from tasks.publishing.release import Release, dry_run, headline, publish
    from tasks.showing.space import publish_with_space, show_space

    folder = Path(run_folder)
    report = load_report(folder, publish_args.base_model)
    now = {"card_template": publish_args.card_template, "hub_public": publish_args.hub_public}  # of this command alone
    publish_args = PublishArguments(**(report.choices | publish_args.choices() | now))
    release = Release(folder, report, publish_args, args.predictions, args.keep_card)
    destination = Destination(
        repo_id=args.repo_id or folder.resolve().name,
        public=publish_args.hub_public,
        revision=args.revision,
        tag=args.tag,
        create_pr=args.create_pr,
        message=args.commit_message or headline(report),
    )
    check_repo_id(destination.repo_id)
    if args.space and args.create_pr:
        raise UserError("--space shows a model that is on the Hub, and --create_pr may be refused; leave one of them out")
    if args.dry_run:
        dry_run(release, destination.repo_id)
        if args.space:
            show_space(release, destination.repo_id)
    elif args.space:
        publish_with_space(release, destination)
    else:
        publish(release, destination)


if __name__ == "__main__":
    main()
