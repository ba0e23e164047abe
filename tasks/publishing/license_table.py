"""The licences that the Hub knows, and what each asks of an adaptation.

The ids are those that the Hub accepts (its documentation, "Licenses", and the answer of its card check in 2026).
``restrictions`` say what a licence asks of an adaptation, in words that can be compared:

- ``attribution``: keep the notices and credit; ``non_commercial``; ``no_derivatives``: adaptations are not shared;
- ``share_alike``: an adaptation goes on under the same licence, or one that the licence itself allows (``CARRIED_ON``);
- ``copyleft``: share-alike of the GPL kind, which other kinds do not satisfy;
- ``use_based``: terms of its own, such as a list of forbidden uses. They go on as they are, under the same id.
"""

from __future__ import annotations

from dataclasses import dataclass

_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class License:
    """One licence id of the Hub. ``link`` is its text; None for families and for what has no public text of its own."""

    id: str
    name: str
    link: str | None
    restrictions: frozenset[str]
    family: str

    @property
    def share_alike(self) -> bool:
        """Whether an adaptation has to go on under this licence, or one that it names."""
        return "share_alike" in self.restrictions


def _rows(family: str, restrictions: str, link: str | None, rows: dict[str, str]) -> list[License]:
    """Licences alike but for id and name; ``{id}`` in ``link`` is the id. A row may be ``name | link of its own``."""
    found = []
    for identifier, row in rows.items():
        name, _, own = row.partition(" | ")
        text = own or (link.format(id=identifier) if link else None)
        found.append(License(identifier, name, text, frozenset(restrictions.split()), family))
    return found


def _creative_commons(elements: str, versions: str) -> list[License]:
    words = {"by": "attribution", "nc": "non_commercial", "nd": "no_derivatives", "sa": "share_alike"}
    parts = elements.split("-")
    restrictions = frozenset(words[part] for part in parts)
    title = " ".join(
        {"by": "Attribution", "nc": "NonCommercial", "nd": "NoDerivatives", "sa": "ShareAlike"}[p] for p in parts
    )
    page = f"https://creativecommons.org/licenses/{elements}/"
    return [
        License(f"cc-{elements}-{v}", f"Creative Commons {title} {v}", f"{page}{v}/", restrictions, "cc")
        for v in versions.split()
    ]


_CHOOSE = "https://choosealicense.com/licenses/{id}/"
_COPYLEFT = "attribution share_alike copyleft"
_OWN_TERMS = "attribution share_alike use_based"
_RESEARCH = "attribution share_alike use_based non_commercial"
_ODC = "https://opendatacommons.org/licenses"

LICENSES: dict[str, License] = {
    license.id: license
    for license in [
        *_rows(
            "permissive",
            "attribution",
            _CHOOSE,
            {
                "apache-2.0": "Apache License 2.0",
                "mit": "MIT License",
                "afl-3.0": "Academic Free License v3.0",
                "artistic-2.0": "Artistic License 2.0",
                "bsl-1.0": "Boost Software License 1.0",
                "bsd-2-clause": "BSD 2-Clause License",
                "bsd-3-clause": "BSD 3-Clause License",
                "bsd-3-clause-clear": "BSD 3-Clause Clear License",
                "ecl-2.0": "Educational Community License v2.0",
                "isc": "ISC License",
                "lppl-1.3c": "LaTeX Project Public License v1.3c",
                "ncsa": "University of Illinois/NCSA Open Source License",
                "postgresql": "PostgreSQL License",
                "zlib": "zlib License",
                "etalab-2.0": "Etalab Open License 2.0 | https://spdx.org/licenses/etalab-2.0.html",
                "openmdw-1.0": "OpenMDW License 1.0 | https://openmdw.ai/license/1-0/",
                "openmdw-1.1": "OpenMDW License 1.1 | https://openmdw.ai/license/1-1/",
                "odc-by": f"Open Data Commons Attribution | {_ODC}/by/1-0/",
                "cdla-permissive-1.0": "CDLA Permissive 1.0 | https://cdla.dev/permissive-1-0/",
                "cdla-permissive-2.0": "CDLA Permissive 2.0 | https://cdla.dev/permissive-2-0/",
            },
        ),
        *_rows("permissive", "attribution", None, {"bsd": "BSD licence family"}),
        *_rows(
            "public domain",
            "",
            _CHOOSE,
            {
                "cc0-1.0": "Creative Commons Zero 1.0 | https://creativecommons.org/publicdomain/zero/1.0/",
                "unlicense": "The Unlicense",
                "wtfpl": "Do What The F*ck You Want To Public License",
                "pddl": f"Open Data Commons Public Domain Dedication and License | {_ODC}/pddl/1-0/",
            },
        ),
        *_creative_commons("by", "2.0 2.5 3.0 4.0"),
        *_creative_commons("by-sa", "3.0 4.0"),
        *_creative_commons("by-nc", "2.0 3.0 4.0"),
        *_creative_commons("by-nd", "4.0"),
        *_creative_commons("by-nc-nd", "3.0 4.0"),
        *_creative_commons("by-nc-sa", "2.0 3.0 4.0"),
        *_rows(
            "gpl",
            _COPYLEFT,
            _CHOOSE,
            {
                "gpl": "GNU General Public License family | https://www.gnu.org/licenses/gpl.html",
                "gpl-2.0": "GNU General Public License v2.0",
                "gpl-3.0": "GNU General Public License v3.0",
                "lgpl": "GNU Lesser General Public License family | https://www.gnu.org/licenses/lgpl.html",
                "lgpl-2.1": "GNU Lesser General Public License v2.1",
                "lgpl-3.0": "GNU Lesser General Public License v3.0",
            },
        ),
        *_rows("agpl", _COPYLEFT, _CHOOSE, {"agpl-3.0": "GNU Affero General Public License v3.0"}),
        *_rows(
            "gfdl", _COPYLEFT, "https://www.gnu.org/licenses/fdl.html", {"gfdl": "GNU Free Documentation License family"}
        ),
        *_rows("lgpl-lr", _COPYLEFT, "https://spdx.org/licenses/LGPLLR.html", {"lgpl-lr": "LGPL For Linguistic Resources"}),
        *_rows(
            "epl",
            _COPYLEFT,
            _CHOOSE,
            {
                "epl-1.0": "Eclipse Public License 1.0",
                "epl-2.0": "Eclipse Public License 2.0",
            },
        ),
        *_rows(
            "eupl",
            _COPYLEFT,
            _CHOOSE,
            {
                "eupl-1.1": "European Union Public License 1.1",
                "eupl-1.2": "European Union Public License 1.2",
            },
        ),
        *_rows("mpl", _COPYLEFT, _CHOOSE, {"mpl-2.0": "Mozilla Public License 2.0"}),
        *_rows("ms-pl", _COPYLEFT, _CHOOSE, {"ms-pl": "Microsoft Public License"}),
        *_rows("osl", _COPYLEFT, _CHOOSE, {"osl-3.0": "Open Software License 3.0"}),
        *_rows("ofl", _COPYLEFT, _CHOOSE, {"ofl-1.1": "SIL Open Font License 1.1"}),
        *_rows("odbl", _COPYLEFT, f"{_ODC}/odbl/1-0/", {"odbl": "Open Database License family"}),
        *_rows("cdla", _COPYLEFT, "https://cdla.dev/sharing-1-0/", {"cdla-sharing-1.0": "CDLA Sharing 1.0"}),
        *_rows(
            "openrail",
            _OWN_TERMS,
            None,
            {
                "openrail": "OpenRAIL licence family",
                "openrail++": f"Open RAIL++-M | {_HUB}/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
                "bigscience-openrail-m": "BigScience OpenRAIL-M",
                "bigscience-bloom-rail-1.0": f"BigScience BLOOM RAIL 1.0 | {_HUB}/spaces/bigscience/license",
                "bigcode-openrail-m": f"BigCode OpenRAIL-M v1 | {_HUB}/spaces/bigcode/bigcode-model-license-agreement",
                "creativeml-openrail-m": f"CreativeML OpenRAIL-M | {_HUB}/spaces/CompVis/stable-diffusion-license",
                "c-uda": "Computational Use of Data Agreement | https://spdx.org/licenses/C-UDA-1.0.html",
            },
        ),
        *_rows(
            "vendor",
            _OWN_TERMS,
            None,
            {
                "llama2": f"Llama 2 Community License | {_HUB}/meta-llama/Llama-2-7b-hf/blob/main/LICENSE.txt",
                "llama3": f"Llama 3 Community License | {_HUB}/meta-llama/Meta-Llama-3-8B/blob/main/LICENSE",
                "llama3.1": f"Llama 3.1 Community License | {_HUB}/meta-llama/Llama-3.1-8B/blob/main/LICENSE",
                "llama3.2": f"Llama 3.2 Community License | {_HUB}/meta-llama/Llama-3.2-1B/blob/main/LICENSE.txt",
                "llama3.3": f"Llama 3.3 Community License | {_HUB}/meta-llama/Llama-3.3-70B-Instruct/blob/main/LICENSE",
                "llama4": f"Llama 4 Community License | {_HUB}/meta-llama/Llama-4-Scout-17B-16E-Instruct/blob/main/LICENSE",
                "gemma": "Gemma Terms of Use | https://ai.google.dev/gemma/terms",
                "grok2-community": f"Grok 2 Community License | {_HUB}/xai-org/grok-2/blob/main/LICENSE",
                "apple-ascl": "Apple Sample Code License | "
                "https://developer.apple.com/support/downloads/terms/apple-sample-code/Apple-Sample-Code-License.pdf",
            },
        ),
        *_rows(
            "vendor",
            _RESEARCH,
            None,
            {
                "apple-amlr": f"Apple Model License for Research | {_HUB}/apple/DepthPro/blob/main/LICENSE",
                "deepfloyd-if-license": f"DeepFloyd IF Research License | {_HUB}/spaces/DeepFloyd/deepfloyd-if-license",
                "fair-noncommercial-research-license": "FAIR Noncommercial Research License | "
                f"{_HUB}/facebook/fair-noncommercial-research-license/blob/main/LICENSE",
                "h-research": "H Research License",
                "intel-research": "Intel Research Use License Agreement",
            },
        ),
        *_rows("other", "share_alike use_based", None, {"other": "Other"}),
        *_rows("unclear", "", None, {"unknown": "Unknown", "cc": "Creative Commons licence family"}),
    ]
}

#: Under what else a share-alike licence lets an adaptation go on. Creative Commons: "Compatible Licenses" (BY-SA 4.0 to
#: GPL-3.0, one way) and the FAQ (all licences after version 1.0 allow a later version). GNU: GPL-2.0 section 9 and GPL-3.0
#: section 14 (a later version, any version where none is named), LGPL-2.1 section 3 and LGPL-3.0 (the plain GPL). An id of
#: the Hub does not say whether "or later" was granted; the usual notice grants it. EPL-1.0 section 7; EUPL-1.1 section 13.
CARRIED_ON: dict[str, tuple[str, ...]] = {
    "cc-by-sa-3.0": ("cc-by-sa-4.0",),
    "cc-by-sa-4.0": ("gpl-3.0",),
    "cc-by-nc-sa-2.0": ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-3.0": ("cc-by-nc-sa-4.0",),
    "gpl": ("gpl-2.0", "gpl-3.0"),
    "gpl-2.0": ("gpl-3.0",),
    "lgpl": ("lgpl-2.1", "lgpl-3.0", "gpl", "gpl-2.0", "gpl-3.0"),
    "lgpl-2.1": ("lgpl-3.0", "gpl-2.0", "gpl-3.0"),
    "lgpl-3.0": ("gpl-3.0",),
    "epl-1.0": ("epl-2.0",),
    "eupl-1.1": ("eupl-1.2",),
}

_GPL = ("gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0")
#: Permissive licences that the Free Software Foundation ("Various Licenses and Comments about Them") holds incompatible.
INCOMPATIBLE: dict[str, tuple[str, ...]] = {
    "apache-2.0": ("gpl-2.0", "lgpl-2.1"),
    "ecl-2.0": ("gpl-2.0", "lgpl-2.1"),
    "afl-3.0": _GPL,
    "lppl-1.3c": _GPL,
}

#: Data licences that say that results of computing on the data, such as a trained model, are free of them: C-UDA section
#: 2.2, CDLA-Sharing-1.0 and CDLA-Permissive-1.0 section 3.5, CDLA-Permissive-2.0 section 3.
FREE_RESULTS = frozenset({"c-uda", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0"})
