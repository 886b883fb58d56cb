"""Names that would be markup, script, formula or command elsewhere are text in every figure, table and picture."""

import re
from html.parser import HTMLParser

import pytest
from made_up import make_arm, make_regions, make_report
from made_up_group import make_age, make_agreement, make_group, make_values
from page_reader import Reader

from dlqsm.report.agreement_latex import latex_tables
from dlqsm.report.agreement_pictures import agreement_pictures
from dlqsm.report.group_page import group_page
from dlqsm.report.page import participant_page

HOSTILE = (
    "</script><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{",
    "%&_#^~{}\\input{/etc/passwd}",
    "</style><!--",
    "\u202eevil\u2028\u0000 <\U0001f600>",
)


class Scripts(HTMLParser):
    """Counts what runs: scripts, event handlers, addresses of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.n_scripts, self.handlers = 0, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.n_scripts += tag == "script"
        self.handlers += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_participants_page(name: str) -> None:
    about = {"decisions": {name: name}, "scan": {"protocol": name, "sampling": name}, "methods": {"inversion": name}}
    arm = make_arm(name, truth_chi_ppm=None, summary=about)
    regions = make_regions([name], truth=False)
    page = participant_page(make_report(participant=name, arms=(arm,), regions=regions, reference_arm=None))
    found = Scripts(page)
    assert (found.n_scripts, found.handlers) == (1, [])
    if name.isprintable():
        assert name in Reader(page).words


@pytest.mark.parametrize("name", HOSTILE)
def test_a_groups_page(name: str) -> None:
    values = make_values().replace({"DL3": name, "Pu": name})
    page = group_page(
        make_group(
            dataset=name,
            values=values,
            arms=("PI2", name, "DL4", "PI2rep"),
            agreement=make_agreement().replace({"DL3": name, "Pu": name}),
            notes=(name,),
            problems={name: name},
        )
    )
    found = Scripts(page)
    assert (found.n_scripts, found.handlers) == (0, [])


def test_figures_and_latex() -> None:
    swap = {
        "DL3": "$\\frac{$'><img src=x onerror=alert(1)>",
        "Pu": "%&_#^~{}\\input{x}</script><script>alert(1)</script>",
    }
    values, agreement, age = (table.replace(swap) for table in (make_values(), make_agreement(), make_age()))
    agreement, values = agreement.assign(margin_ppb=3.0), values.assign(age=[40.0 + n % 7 for n in range(len(values))])
    pictures = agreement_pictures(values, agreement, age, reference="PI2", repeat="PI2rep")
    for file, content in pictures.items():
        if file.endswith(".svg"):
            found = Scripts(content.decode())
            assert (found.n_scripts, found.handlers) == (0, [])
            assert b"<img" not in content
    assert any(b"&lt;script&gt;" in content for content in pictures.values())
    text = latex_tables(agreement, age, reference="PI2", margin_ppb=3.0, repeat="PI2rep")
    assert "\\input" not in text and "\\frac{" not in text and r"\textbackslash{}frac" in text
    assert not re.findall(r"(?<!\\)[#_]", text.replace("{booktabs}", ""))
