"""Under which licence a fine-tune may be published. The facts are in licenses.yaml, the rule is here.

The base model is what a fine-tune adapts, so its licence binds. Whether trained weights are an adaptation of their training
data is disputed; here the licence has to ask for all that the licence of the data asks for, too.
Sources: Creative Commons, "Compatible Licenses" and the FAQ ("If I derive or adapt material offered under a Creative Commons
license, which CC license(s) can I use?", with its chart of adapter's licences); the texts that licenses.yaml links to.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.arguments.publishing import PublishArguments
from tasks.errors import UserError
from tasks.publishing.report import Base, RunReport


@dataclass(frozen=True)
class License:
    """One licence id of the Hub. The fields are explained in licenses.yaml."""

    id: str
    name: str
    asks: set[str]
    link: str | None = None
    goes_on_as: tuple[str, ...] = ()
    never_as: tuple[str, ...] = ()
    kind: str | None = None
    frees_results: bool = False


_TABLES = yaml.safe_load(Path(__file__).with_name("licenses.yaml").read_text("utf-8"))
LICENSES = {
    # Llama's own terms are not Gemma's.
    id: License(id, **(row | {"asks": {f"the terms of {id}" if term == "own terms" else term for term in row["asks"]}}))
    for id, row in _TABLES["licenses"].items()
}
BASE_MODELS = {key: row if isinstance(row, dict) else {"license": row} for key, row in _TABLES["base_models"].items()}
DATASETS: dict[str, str] = _TABLES["datasets"]
FINGERPRINTS: dict[str, dict[str, Any]] = _TABLES["fingerprints"]

#: Ids that nobody means by a slip of the pen: "unlicensed" must not be answered with a waiver of all rights.
_NEVER_SUGGESTED = {"unlicense", "unknown", "other", "wtfpl"}
_LIST = "https://huggingface.co/docs/hub/repositories-licenses"


def base_license(base_model: str | None) -> Base | None:
    """What licenses.yaml says of a base model by its Hub id; None if it is not listed."""
    row = _look_up(BASE_MODELS, base_model)
    if row is None:
        return None
    hub_id = str(base_model).strip()
    link = row.get("license_link", "").replace("{id}", hub_id) or None
    return Base(hub_id, hub_id, license=row["license"], license_name=row.get("license_name"), license_link=link)


def dataset_license(dataset: str | None) -> str | None:
    """The licence id of a data set by its Hub id; None if it is not listed."""
    return _look_up(DATASETS, dataset)


def _look_up(table: dict, name: str | None):
    wanted = (name or "").strip().lower()
    rows = {key.lower(): value for key, value in table.items()}
    return rows.get(wanted) or next((row for key, row in rows.items() if fnmatch.fnmatchcase(wanted, key)), None)


def binding(base: Base, known: Mapping[str | None, str | None]) -> dict[str, str]:
    """Those of ``known`` (model: licence) that ask for more than the licence that ``base`` is said to be under."""
    said = LICENSES.get((base.license or "").lower())
    licenses = {str(model): (id or "").lower() for model, id in known.items()}
    return {
        model: id
        for model, id in licenses.items()
        if _forbids_adaptations(id) or (id in LICENSES and LICENSES[id].kind != "unclear")
        if id != (base.license or "").lower() and not (said and id in LICENSES and _allows(LICENSES[id], said))
    }


def license_for(base: Base, data_license: str | None, publish_args: PublishArguments) -> str:
    """The licence id to publish a fine-tune under: that of ``--license``, or else the base's.

    It may ask for more than base and data do, never for less. A share-alike base allows what it names, and terms of its own
    (Llama, Gemma, OpenRAIL, ``other``) stay as they are. ``other`` is not compared with the data's licence: its terms are
    unknown. The data sets no rule if its licence is ``other``, ``unknown``, or no-derivatives with ``--allow_nd_dataset``.
    ``--dataset_license`` may say more than ``data_license``, which is known, and never less.

    Raises:
        UserError: a base forbids it; the licence is missing, no id of the Hub, or drops what a base or data ask for; or the
            base is a local folder whose licence asks for credit and whose maker is unknown.
    """
    model = None if base.from_scratch else base.hub_id or base.name
    of_base, from_scratch = model or "the base model", not base.license and model is None
    of_data = publish_args.dataset_license or data_license
    source_id, given, dataset = ((text or "").strip().lower() for text in (base.license, publish_args.license, of_data))
    _refuse_laxer_data(LICENSES.get((data_license or "").lower()), LICENSES.get(dataset))
    for of_model, id in {of_base: source_id, **base.also}.items():
        _refuse_no_derivatives(of_model, id, dataset, publish_args.allow_nd_dataset)
    chosen = _known(given, f"--license {given}")
    source = LICENSES.get(source_id)
    if not given:
        source = _known(source_id, f"the licence of {of_base}, {source_id},", "; look it up and name it with --license")
    data = None
    if not _forbids_adaptations(dataset):
        advice = "; name it with --dataset_license, 'other' if it is not there"
        data = _known(dataset, f"the licence of the data set, {dataset},", advice)
    if chosen and chosen.kind == "unclear":
        raise UserError(f"--license {given} does not say what is allowed; name one licence, such as cc-by-nc-sa-4.0")
    if source and source.kind == "unclear":
        source = None
    data = None if data and (data.frees_results or data.kind in ("unclear", "other")) else data

    license = chosen or source
    if license is None and from_scratch:
        said = f" (its data set is under {data.id})" if data else ""
        raise UserError(f"a model trained from scratch inherits no licence{said}; choose one with --license")
    if license is None:
        said = f" (its page says {source_id})" if source_id else ""
        raise UserError(f"the licence of {of_base} is not known{said}; look it up and name it with --license")
    if license.kind == "vendor" and license not in (source, data) and (source or from_scratch):
        raise UserError(
            f"--license {license.id} is what one publisher grants for its own models, and neither base nor data is under "
            "it; name another --license"
        )
    if source and not _allows(source, license):
        reason = f"{of_base} is under {source.id}, {_why_not(source, license)}"
        raise UserError(f"--license {license.id}: {reason}; leave --license out to publish under {source.id}")
    _refuse_against_others(base, license)
    if data and license.kind != "other" and not _covers(license, data):
        advice = "name a --license that covers both; if there is none, train on other data or start from another --model"
        if source is None or _allows(source, data):
            advice = f"--license {data.id} covers {'both' if source else 'it'}"
        raise UserError(f"the data set is under {data.id}, {_why_not(data, license)}; {advice}")
    # Permissive and copyleft licences ask to keep notices; these ask to name and link the source, or prescribe the words.
    asks_for_credit = source and source.kind in ("cc", "vendor") and "attribution" in source.asks
    if asks_for_credit and base.hub_id is None and not base.from_scratch:
        raise UserError(
            f"the base is the local model {base.name!r} under {source_id}, which asks for credit to its maker, and nothing "
            "there says who that is; name the Hub id that it is a copy of by --base_model, or publish it first and train on "
            "what was published"
        )
    return license.id


def license_of(report: RunReport, publish_args: PublishArguments) -> str:
    """As ``license_for`` of a run; the licence of every data set counts."""
    return [license_for(report.base, part.data.license, publish_args) for part in report.parts][-1]


def _refuse_laxer_data(known: License | None, named: License | None) -> None:
    """Raises UserError if ``--dataset_license`` asks for less than what is known of the data set."""
    if not known or not named or known == named:
        return
    if named.kind in ("unclear", "other") or named.frees_results or not known.asks <= named.asks:
        raise UserError(
            f"the data set is under {known.id}, and --dataset_license {named.id} asks for less; leave the flag out"
        )


def _refuse_against_others(base: Base, license: License) -> None:
    """Raises UserError if another model that the base comes of does not allow ``license``."""
    for model, id in base.also.items():
        if not _allows(LICENSES[id], license):
            raise UserError(
                f"--license {license.id}: the model comes of {model} too, which is under {id}, "
                f"{_why_not(LICENSES[id], license)}; name a --license that both allow, or start from another --model"
            )


def _refuse_no_derivatives(of_base: str, base: str, dataset: str, allow_nd_dataset: bool) -> None:
    """Raises UserError if base or data are under a licence that forbids sharing adaptations."""
    if _forbids_adaptations(base):
        raise UserError(
            f"{of_base} is under {base}, which forbids sharing adaptations, so no fine-tune of it can be published; "
            "start from another --model"
        )
    if _forbids_adaptations(dataset) and not allow_nd_dataset:
        raise UserError(
            f"the data set is under {dataset}, which forbids sharing adaptations, and whether trained weights are an "
            "adaptation of their data is disputed; to publish on your own judgement, add --allow_nd_dataset"
        )


def _known(id: str, what: str, advice: str = "") -> License | None:
    """The licence with this id, None for an empty id. Raises UserError if the Hub has no such id."""
    if id and id not in LICENSES:
        raise UserError(f"{what} is not a licence id of the Hub{nearest(id)}{advice}")
    return LICENSES.get(id)


def license_metadata(id: str, base: Base) -> dict[str, Any]:
    """The licence keys of a model card: ``license``, and ``license_name`` and ``license_link`` where the id is not enough.

    With ``license: other`` the Hub asks for both (its ``modelcard.md``), and they are the base's. Licences with terms of
    their own also get a link, and so does a base that names its text.
    """
    license, inherited = LICENSES[id], base if base.license == id else Base()
    name = inherited.license_name if id == "other" else None
    link = inherited.license_link or (license.link if f"the terms of {id}" in license.asks else None)
    values = {"license": id, "license_name": name, "license_link": link}
    return {key: value for key, value in values.items() if value}


def credit(base_model: str | None, language: str) -> str | None:
    """The credit that the licence of ``base_model`` asks for; None if none is listed.

    CC BY 4.0 section 3(a)(1): name the creator, link source and licence. Llama section 1(b) and Gemma section 3.1 prescribe
    a notice. A language without a text of its own gets the English one.
    """
    known = (_look_up(BASE_MODELS, base_model) or {}).get("credit", {})
    return known.get(language, known.get("en"))


def license_words(report: RunReport, publish_args: PublishArguments, license: str | None, language: str) -> dict[str, Any]:
    """What a card says of the licences of model and data, by the names of its template; ``license`` None is not settled."""
    data_license = (publish_args.dataset_license or report.data.license or "").lower() or None
    known = license_metadata(license, report.base) if license else {}
    # CC BY 4.0 section 3(a)(1) asks to say what was modified, too.
    changes = {"en": "Changes: fine-tuned, as described above.", "ko": "변경한 내용: 위에 적은 대로 미세 조정함."}[language]
    credited = " ".join(filter(None, (credit(model, language) for model in (report.base.hub_id, *report.base.also))))
    asked = LICENSES[data_license].asks if data_license in LICENSES else ()
    return {
        "license": license,
        "license_label": known.get("license_name") or (LICENSES[license].name if license else None),
        "license_link": known.get("license_link") or (LICENSES[license].link if license else None),
        "data_license": data_license,
        "nd_note": publish_args.allow_nd_dataset and "no-derivatives" in asked,
        "credit": credited and f"{credited} {changes}",
    }


def _forbids_adaptations(id: str) -> bool:
    """Whether a licence is a no-derivatives one, ids that the Hub does not list (cc-by-nd-3.0) included."""
    return re.search(r"-nd\b", id) is not None


def _allows(source: License, result: License) -> bool:
    """Whether an adaptation of something under ``source`` may be published under ``result``.

    Permissive licences (also CC BY and BY-NC) let an adaptation ask for more: the CC chart of adapter's licences, Apache-2.0
    section 4. Share-alike and copyleft ones allow themselves and ``goes_on_as``; terms of their own only themselves.
    """
    if source.id == result.id:
        return "no-derivatives" not in source.asks
    if "share-alike" in source.asks:
        return result.id in source.goes_on_as
    return source.asks <= result.asks and result.id not in source.never_as


def _covers(result: License, data: License) -> bool:
    """Whether ``result`` asks for all that the licence of the data asks for, and is no other version of that licence."""
    same_kind = "share-alike" in data.asks and result.asks == data.asks
    return _allows(data, result) if same_kind else data.asks <= result.asks


def _why_not(binding: License, license: License) -> str:
    """Why ``license`` does not do for something that comes of ``binding``."""
    dropped = sorted(binding.asks - license.asks)
    if dropped:
        return f"and {license.id} drops {', '.join(dropped)}"
    if "share-alike" in binding.asks:
        return f"which lets adaptations go on as {' or '.join((binding.id, *binding.goes_on_as))} only"
    return f"which the Free Software Foundation holds incompatible with {license.id}"


def nearest(id: str) -> str:
    """What to add to a message about an id that the Hub does not know: the one that was meant, or where the list is."""
    near = difflib.get_close_matches(id, sorted(set(LICENSES) - _NEVER_SUGGESTED), n=1)
    return f"; did you mean {near[0]}?" if near else f"; they are listed at {_LIST}"
