"""Publish a finished run: card, staged files, checks, one commit, comparison, tag."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import get_token

from tasks import task_of
from tasks.arguments.publishing import PublishArguments
from tasks.base import MEAN
from tasks.errors import Interrupted, UserError, when_ended
from tasks.publishing.card import render_card
from tasks.publishing.edits import keep_edits, owner_results, owner_text
from tasks.publishing.facts import adapter_base
from tasks.publishing.hub import Destination, Hub, Remote, stale_files
from tasks.publishing.license import license_of
from tasks.publishing.lint import lint_card
from tasks.publishing.metadata import metrics_of
from tasks.publishing.refusals import Conflict
from tasks.publishing.report import RunReport, check_measured, json_object
from tasks.publishing.staging import CARD_FILE, check_loads, check_secrets, stage
from tasks.run_folder import make_writable, refuse_links, remove_leftovers, write_json, write_lines

logger = logging.getLogger(__name__)

#: Digests of what the owner added to the published card, by repository: they tell whose edits are newer.
PUBLISHED_FILE = ".published.json"
#: How often somebody else may commit in between before publishing gives up.
ROUNDS = 5


def write_card(folder: Path, report: RunReport, publish_args: PublishArguments) -> None:
    """Write README.md of a run that is not published yet, keeping what its owner wrote into an earlier one."""
    card = keep_edits(_read(folder / CARD_FILE), render_card(report, folder, publish_args))
    write_lines(folder / CARD_FILE, [card])


@dataclass(frozen=True)
class Release:
    """A run's folder and how it is published. ``keep_card``: ``local`` or ``hub``, where the card was edited in both."""

    folder: Path
    report: RunReport
    publish_args: PublishArguments
    predictions: bool = False
    keep_card: str | None = None

    def card(self, repo_id: str, on_hub: str | None) -> str:
        """The card: generated sections, and what its owner added, from the run's folder or from the Hub.

        If only one of the two was edited since the last release, that one counts.

        Raises:
            UserError: both were edited, and ``keep_card`` does not say which counts.
        """
        generated = render_card(self.report, self.folder, self.publish_args, repo_id)
        local, keep = _read(self.folder / CARD_FILE), self.keep_card
        if local is None or on_hub is None:
            return keep_edits(local or on_hub, generated)
        here, there = _owners_part(local), _owners_part(on_hub)
        if here == there:
            return keep_edits(on_hub, keep_edits(local, generated))  # metadata of both
        published = json_object(_read(self.folder / PUBLISHED_FILE)).get(repo_id)
        if keep is None and published in (_digest(here), _digest(there)):
            keep = "local" if published == _digest(there) else "hub"
        if keep is None and not (here and there):
            keep = "local" if here else "hub"
        if keep is None:
            raise UserError(
                f"the card was edited both in {self.folder / CARD_FILE} and on the Hub ({repo_id}); choose with --keep_card "
                "local or --keep_card hub, or copy the one into the other by hand"
            )
        return keep_edits(local if keep == "local" else on_hub, generated)

    @contextmanager
    def staged(self, repo_id: str, on_hub: str | None) -> Iterator[tuple[Path, list[str]]]:
        """A temporary folder with what is sent, linted and scanned; gone afterwards. The run's folder is not changed."""
        with _place_beside(self.folder) as name:
            place = Path(name)
            card = self.card(repo_id, on_hub)
            base = adapter_base(self.report.base) if self.report.adapter else None
            names = stage(self.folder, place, card, self.predictions, base)
            findings = lint_card(card, folder=place, repo_id=repo_id)
            if findings:
                more = f" (and {len(findings) - 1} more; --check lists them)" if len(findings) > 1 else ""
                raise UserError(f"the card is not fit to be published: {findings[0]}{more}; nothing was sent")
            check_secrets(place, names, own_tokens())
            yield place, names


def dry_run(release: Release, repo_id: str) -> None:
    """Do everything but send: print the files with their sizes, and the card."""
    check_measured(release.folder, release.report.results)
    license_of(release.report, release.publish_args)
    with release.staged(repo_id, None) as (place, names):
        check_loads(release.folder, place)
        for name in names:
            print(f"{(place / name).stat().st_size:>15,}  {name}")
        print(f"\n{(place / CARD_FILE).read_text('utf-8')}")
        print(f"nothing was sent: this is what {repo_id} would get")


def publish(release: Release, destination: Destination, hub: Hub | None = None) -> str:
    """Send a run to the Hub in one commit, compare what arrived, set the tag. Returns and prints the address.

    Raises:
        UserError: nobody is logged in, the Hub refuses, or what arrived is not what was sent. Its ``resume`` is the command
            that resumes: the run's folder is unchanged, and nothing is sent twice.
    """
    check_measured(release.folder, release.report.results)
    kept = "the run's folder is as it was, and the last line goes on"
    try:
        with when_ended(kept, resume_command(release, destination)):
            license_of(release.report, release.publish_args)
            hub = hub or Hub()
            for _ in range(ROUNDS):
                destination, remote = hub.preflight(destination, release.report.config.task)
                try:
                    return _send(release, destination, hub, remote)
                except Conflict:
                    logger.warning("%s has changed in the meantime; reading it again", destination.repo_id)
            raise UserError(f"{destination.repo_id} is changed by others all the time; try again later")
    except UserError as error:
        raise UserError(str(error), resume=resume_command(release, destination)) from None
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {kept}", resume_command(release, destination)) from None


def _send(release: Release, destination: Destination, hub: Hub, remote: Remote) -> str:
    repo_id, url = destination.repo_id, f"{hub.api.endpoint}/{destination.repo_id}"
    url += f"/discussions/{remote.pull}" if remote.pull else ""
    with release.staged(repo_id, remote.card) as (place, names):
        changed = hub.differs(destination, remote.head, place) if remote.head else names
        stale = stale_files(remote.files, names)
        before, revision = remote, remote.head
        if changed or stale:
            if remote.exists:
                hub.check_tag(destination, None)  # there will be a new commit, and a tag stays where it is
            check_loads(release.folder, place)  # before anything is made on the Hub
            remote = hub.prepare(destination, remote)
            info = hub.commit(destination, remote, place, changed, stale)
            revision, url = info.pr_revision or info.oid, info.pr_url or url
            wrong = hub.differs(destination, revision, place)
            if wrong:
                raise UserError(f"{repo_id} does not hold what was sent: {', '.join(wrong)}; send it again")
        hub.finish(destination, before, revision)
        card = (place / CARD_FILE).read_text("utf-8")
    if not destination.create_pr:  # a pull request may be refused: main's card is as it was
        _remember(release.folder, repo_id, card)
    done = ", ".join([*changed, *(f"{name} (removed)" for name in stale)])
    print(f"sent and compared: {done}" if done else "nothing has changed since the last release: nothing was sent")
    print(url)
    return url


def headline(report: RunReport) -> str:
    """The first line of a commit: the task and its main figure."""
    name = report.config.task
    metric = MEAN if len(report.parts) > 1 else task_of(report.config).main_metric
    value = metrics_of(report.results).get(metric)
    return f"{name}, {metric} {value:.4g} on validation" if value is not None else name


def resume_command(release: Release, destination: Destination) -> str:
    """The command line that resumes publishing, for the directory of the one that stopped."""
    values = {
        "repo_id": destination.repo_id,
        "revision": destination.revision,
        "tag": destination.tag,
        "create_pr": destination.create_pr,
        "commit_message": destination.message if destination.message != headline(release.report) else None,
        "keep_card": release.keep_card,
        "predictions": release.predictions,
        "hub_public": destination.public,
        "card_template": release.publish_args.card_template,
        **release.publish_args.choices(),
    }
    words: list[str] = []
    for name, value in values.items():
        if value:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    script = Path(sys.argv[0]).with_name("publish.py")  # every script lies beside it
    script = script if script.is_file() else Path("scripts/publish.py")
    return shlex.join(["python", str(script), str(release.folder), *words])


def _place_beside(folder: Path) -> TemporaryDirectory:
    """A temporary folder in ``folder``, where weights can be linked, or else in the system's temporary directory.

    Its name holds this process's id, so that folders that killed processes left can be removed.
    """
    remove_leftovers(folder)
    try:
        return TemporaryDirectory(prefix=f".publish-{os.getpid()}-", dir=folder, ignore_cleanup_errors=True)
    except OSError:
        return TemporaryDirectory(prefix="publish-", ignore_cleanup_errors=True)


def own_tokens() -> list[str]:
    """The user's own tokens, wherever they are kept, to be searched for in what is sent."""
    names = [name for name in os.environ if name.endswith(("_TOKEN", "_API_KEY", "_SECRET", "_PASSWORD"))]
    values = [os.environ[name] for name in names]
    return [value for value in (get_token(), *values) if value and len(value) >= 12]


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8") if path.is_file() else None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as UTF-8, or delete it") from None


def _remember(folder: Path, repo_id: str, card: str) -> None:
    """Keep the published card as the run's own, and a digest of what its owner added."""
    try:
        refuse_links(folder)
        make_writable(folder)
    except UserError:  # published all the same
        logger.warning("%s cannot be written to: the published card was not kept there", folder)
        return
    write_lines(folder / CARD_FILE, [card])
    known = json_object(_read(folder / PUBLISHED_FILE))
    write_json(folder / PUBLISHED_FILE, known | {repo_id: _digest(_owners_part(card))})


def _owners_part(card: str) -> str:
    """What its owner added to a card; "" where that is nothing."""
    results = owner_results(card)
    return f"{owner_text(card)}\n{results}" if results else owner_text(card)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
