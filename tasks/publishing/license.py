"""Under which licence a fine-tune may be published: the base model's, or one that it and the data allow.

The base model is what a fine-tune adapts, so its licence binds. Whether trained weights are an adaptation of their training
data is disputed; here a data licence counts by what it asks for (``restrictions``), and the stricter of the two wins.
Sources: Creative Commons, "Compatible Licenses" and the FAQ ("If I derive or adapt material offered under a Creative Commons
license, which CC license(s) can I use?", with its chart of adapter's licences); the texts named in ``license_table``.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from tasks.errors import UserError
from tasks.publishing.base_models import BASE_MODELS, DATASETS, BaseModel, base_license, dataset_license
from tasks.publishing.license_table import CARRIED_ON, FREE_RESULTS, INCOMPATIBLE, LICENSES, License

__all__ = [
    "BASE_MODELS",
    "DATASETS",
    "LICENSES",
    "BaseModel",
    "License",
    "base_license",
    "credit",
    "dataset_license",
    "license_metadata",
    "resolve_license",
]

#: Ids that nobody means by a slip of the pen: "unlicensed" must not be answered with a waiver of all rights.
NEVER_SUGGESTED = {"unlicense", "unknown", "other", "wtfpl"}


def resolve_license(
    base: str | None,
    given: str | None,
    dataset: str | None,
    *,
    base_model: str | None = None,
    allow_nd_dataset: bool = False,
) -> str:
    """The licence id to publish a fine-tune under.

    Args:
        base: licence id of the base model, None where it is not known or there is none.
        given: what the user names with ``--license``.
        dataset: licence id of the training data; ``other`` and ``unknown`` set no rule.
        base_model: the base model, None for a model trained from scratch.
        allow_nd_dataset: the user publishes in spite of a no-derivatives data licence, which then sets no rule.

    Nothing given, the base's licence goes on, or the data's where it asks for more and the base allows it. A licence that is
    given may ask for more than the base's, never for less; a share-alike base goes on as what it allows, and terms of their
    own (Llama, Gemma, OpenRAIL, ``other``) as they are. ``other`` is compared with no data licence: its terms are not known.

    Raises:
        UserError: the base forbids it, the licence is missing or not one of the Hub, drops what base or data ask for, or
            base and data ask for what no one of their licences covers.
    """
    base, given, dataset = (_id(text) for text in (base, given, dataset))
    chosen = _given_license(given)
    of_base = base_model or "the base model"
    source = _base_license(base, chosen, of_base)
    data = _data_license(dataset, allow_nd_dataset)
    if chosen is None:
        if source is None:
            raise UserError(_ask(base_model, base, data))
        return _inherited(source, data, of_base).id
    _check_publisher(chosen, source, data, of_base, from_scratch=base is None and base_model is None)
    if source is not None:
        _check_base(chosen, source, of_base)
    _check_data(chosen, source, data)
    return chosen.id


def license_metadata(id: str, base: BaseModel | None) -> dict[str, Any]:
    """The licence keys of a model card: ``license``, and ``license_name`` and ``license_link`` where the id is not enough.

    The Hub asks for both with ``license: other`` (its ``modelcard.md``), where they are the base's. A link is also given for
    licences with terms of their own, and where the base names its text. Copy the text of an ``other`` licence to LICENSE.
    """
    license = LICENSES[id]
    inherited = base if base is not None and base.license == id else None
    metadata = {"license": id}
    if id == "other" and inherited and inherited.license_name:
        metadata["license_name"] = inherited.license_name
    link = inherited.license_link if inherited else None
    if link is None and "use_based" in license.restrictions:
        link = license.link
    if link:
        metadata["license_link"] = link
    return metadata


def credit(base_model: str | None, language: str, change: str) -> str | None:
    """The credit that the licence of ``base_model`` asks for, saying what was changed; None where none is known here.

    CC BY 4.0 section 3(a)(1): name the creator, link source and licence, say what was modified. Llama section 1(b) and
    Gemma section 3.1 prescribe a notice. A language without a text of its own gets the English one.
    """
    base = base_license(base_model)
    if base is None or not base.credit:
        return None
    return base.credit.get(language, base.credit["en"]).replace("{change}", change.strip().rstrip("."))


def _id(text: str | None) -> str | None:
    return (text or "").strip().lower() or None


def _given_license(given: str | None) -> License | None:
    if given is None:
        return None
    if given not in LICENSES:
        raise UserError(f"--license {given} is not a licence id of the Hub{_nearest(given)}")
    if LICENSES[given].family == "unclear":
        raise UserError(f"--license {given} does not say what is allowed; name one licence, such as cc-by-nc-sa-4.0")
    return LICENSES[given]


def _base_license(base: str | None, chosen: License | None, of_base: str) -> License | None:
    """The licence of the base, None where it is not known and the user's word has to do."""
    known = LICENSES.get(base or "")
    if base and _forbids_adaptations(base):
        raise UserError(
            f"{of_base} is under {base}, which forbids sharing adaptations, so no fine-tune of it can be published; "
            "start from another --model"
        )
    if base and known is None and chosen is None:
        raise UserError(
            f"the licence of {of_base}, {base}, is not a licence id of the Hub{_nearest(base)}; "
            "look it up on the model's page and name it with --license"
        )
    return known if known and known.family != "unclear" else None


def _data_license(dataset: str | None, allow_nd: bool) -> License | None:
    """The licence of the data where it sets a rule for the weights."""
    if dataset is None or dataset in FREE_RESULTS:
        return None
    known = LICENSES.get(dataset)
    if _forbids_adaptations(dataset):
        if allow_nd:
            return None
        raise UserError(
            f"the data set is under {dataset}, which forbids sharing adaptations, and whether trained weights are an "
            "adaptation of their data is disputed; to publish on your own judgement, add --allow_nd_dataset"
        )
    if known is None:
        raise UserError(
            f"the licence of the data set, {dataset}, is not a licence id of the Hub{_nearest(dataset)}; "
            "name it with --dataset_license ('other' stands for any that the Hub does not list)"
        )
    return None if known.family in ("unclear", "other") else known


def _forbids_adaptations(id: str) -> bool:
    """Also for ids that the Hub does not list, such as cc-by-nd-3.0."""
    return re.search(r"-nd\b", id) is not None


def _ask(base_model: str | None, base: str | None, data: License | None) -> str:
    if base_model is None and base is None:
        told = f" (its data set is under {data.id})" if data else ""
        return f"a model trained from scratch inherits no licence{told}; choose one with --license"
    said = f" (its page says {base})" if base else ""
    return f"the licence of {base_model or 'the base model'} is not known{said}; look it up and name it with --license"


def _inherited(source: License, data: License | None, of_base: str) -> License:
    """The base's licence, or the data's where it asks for all that the base's asks for and the base allows it."""
    if data is None or source.family == "other":
        return source
    if _covers(source, data):
        return source
    if _terms(source) <= _terms(data) and _allows(source, data):
        return data
    also = _words(_terms(data) - _terms(source))
    raise UserError(
        f"{of_base} is under {source.id} and the data set under {data.id}, and neither covers the other"
        f"{f' (the data set also asks for {also})' if also else ''}; {_way_out(source, data)}"
    )


def _check_publisher(
    chosen: License, source: License | None, data: License | None, of_base: str, *, from_scratch: bool
) -> None:
    """Refuse terms that are not the user's to choose, unless the base is unknown and they are the user's word on it."""
    if chosen.family == "other" and source is not None and source.id != "other":
        raise UserError(f"--license other: {of_base} is under {source.id}; leave --license out, or name an id of the Hub")
    known = source is not None or from_scratch
    if chosen.family == "vendor" and known and chosen not in (source, data):
        raise UserError(
            f"--license {chosen.id} is what one publisher grants for its own models, and neither base nor data is under it; "
            "name another --license"
        )


def _check_base(chosen: License, source: License, of_base: str) -> None:
    """Refuse ``chosen`` where the licence of the base does not allow an adaptation under it."""
    if _allows(source, chosen):
        return
    dropped = _terms(source) - _terms(chosen)
    where = f"{of_base} is under {source.id}, "
    if "use_based" in source.restrictions:
        why = "whose own terms go on as they are"
    elif dropped:
        why = f"and this drops {_words(dropped)}"
    elif source.share_alike:
        why = f"which lets adaptations go on as {' or '.join((source.id, *CARRIED_ON.get(source.id, ())))} only"
    else:
        why = "which the Free Software Foundation holds incompatible with it"
    raise UserError(f"--license {chosen.id}: {where}{why}; leave --license out to publish under {source.id}")


def _check_data(chosen: License, source: License | None, data: License | None) -> None:
    """Refuse ``chosen`` where it drops what the licence of the data asks for."""
    if data is None or chosen.family == "other" or _covers(chosen, data):
        return
    dropped = _words(_terms(data) - _terms(chosen))
    why = f"this drops {dropped}" if dropped else "this is not a version that it goes on as"
    raise UserError(f"--license {chosen.id}: the data set is under {data.id}, and {why}; {_way_out(source, data)}")


def _allows(source: License, result: License) -> bool:
    """Whether an adaptation of something under ``source`` may be published under ``result``.

    Permissive licences (also CC BY and BY-NC) let an adaptation ask for more: the CC chart of adapter's licences, Apache-2.0
    section 4. Share-alike and copyleft ones allow themselves and ``CARRIED_ON``; terms of their own only themselves.
    """
    if source.id == result.id:
        return "no_derivatives" not in source.restrictions
    if source.share_alike:
        return result.id in CARRIED_ON.get(source.id, ())
    return _terms(source) <= _terms(result) and result.id not in INCOMPATIBLE.get(source.id, ())


def _covers(result: License, data: License) -> bool:
    """Whether ``result`` asks for all that the licence of the data asks for, and is no other version of that licence."""
    same_kind = data.share_alike and (result.family, result.restrictions) == (data.family, data.restrictions)
    return _allows(data, result) if same_kind else _terms(data) <= _terms(result)


def _terms(license: License) -> frozenset[str]:
    """The restrictions in comparable form: the GPL's copyleft is not the MPL's, Llama's terms are not Gemma's."""
    kind = {"copyleft": f"the copyleft of {license.family}", "use_based": f"the terms of {license.id}"}
    return frozenset(kind.get(restriction, restriction) for restriction in license.restrictions)


def _words(terms: frozenset[str]) -> str:
    return ", ".join(sorted(term.replace("_", "-") for term in terms))


def _way_out(source: License | None, data: License) -> str:
    """What to do where the data's licence is not covered: the licence that base and data both allow, if there is one."""

    def version(license: License) -> float:
        number = re.search(r"\d+\.\d+$", license.id)
        return float(number[0]) if number else 0.0

    fitting = [
        license
        for license in LICENSES.values()
        if _covers(license, data) and "no_derivatives" not in license.restrictions
        if license.family not in ("vendor", "other") or license in (source, data)
        if source is None or _allows(source, license)
    ]
    if not fitting:
        return "no licence of the Hub covers both; train on other data, or start from another --model"
    best = min(fitting, key=lambda it: (it != data, len(it.restrictions), it.family != data.family, -version(it)))
    return f"--license {best.id} covers {'both' if source else 'it'}"


def _nearest(id: str) -> str:
    near = difflib.get_close_matches(id, sorted(set(LICENSES) - NEVER_SUGGESTED), n=1)
    return (
        f"; did you mean {near[0]}?"
        if near
        else "; they are listed at https://huggingface.co/docs/hub/repositories-licenses"
    )
