"""The licences of the Hub and what is said of each."""

from __future__ import annotations

import re

import pytest

from tasks.publishing.license_table import CARRIED_ON, INCOMPATIBLE, LICENSES

#: What the card check of the Hub answered to an unknown licence (2026), less "array".
HUB_IDS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
    artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
    cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
    epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0
    postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2
    llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown other
"""


def test_table_holds_what_the_hub_knows():
    assert set(LICENSES) == set(HUB_IDS.split())
    assert all(row.id == key for key, row in LICENSES.items())
    kinds = {"attribution", "non_commercial", "share_alike", "no_derivatives", "use_based", "copyleft"}
    for row in LICENSES.values():
        assert row.restrictions <= kinds
        assert row.link is None or re.fullmatch(r"https://[^\s{}|]+", row.link)
        assert row.name and "|" not in row.name
        # share_alike says that the licence binds what comes after it: so do copyleft and terms of one's own
        assert row.share_alike or not row.restrictions & {"copyleft", "use_based"}


@pytest.mark.parametrize(
    ("id", "link", "restrictions"),
    [
        ("mit", "https://choosealicense.com/licenses/mit/", {"attribution"}),
        ("cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", set()),
        (
            "cc-by-nc-sa-4.0",
            "https://creativecommons.org/licenses/by-nc-sa/4.0/",
            {"attribution", "non_commercial", "share_alike"},
        ),
        ("cc-by-nd-4.0", "https://creativecommons.org/licenses/by-nd/4.0/", {"attribution", "no_derivatives"}),
        ("gemma", "https://ai.google.dev/gemma/terms", {"attribution", "share_alike", "use_based"}),
        ("gpl-3.0", "https://choosealicense.com/licenses/gpl-3.0/", {"attribution", "share_alike", "copyleft"}),
        ("bsd", None, {"attribution"}),
    ],
)
def test_rows_of_the_table(id, link, restrictions):
    assert (LICENSES[id].link, LICENSES[id].restrictions) == (link, restrictions)


def test_rules_name_known_licences():
    for table in (CARRIED_ON, INCOMPATIBLE):
        assert {id for key, others in table.items() for id in (key, *others)} <= set(LICENSES)
    assert all(LICENSES[key].share_alike for key in CARRIED_ON)
    assert not any(LICENSES[key].share_alike for key in INCOMPATIBLE)
