"""A browser without any network, and the two pages of a made-up study open in it."""

import os
import shutil

import pytest
from made_up import make_arm, make_regions, make_report
from made_up_group import make_age, make_group
from opening import EVIL, WIDE, Opened

from dlqsm.report.agreement_forest import age_slopes_figure
from dlqsm.report.agreement_style import svg_bytes
from dlqsm.report.arms_picture import arms_picture
from dlqsm.report.group import GroupFigure
from dlqsm.report.group_page import group_page
from dlqsm.report.page import participant_page

HOW = "run scripts/browser_tests.sh, which installs what is needed"


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason=f"Playwright is not installed; {HOW}")
    chromium = os.environ.get("DLQSM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip(f"Chromium is not installed; {HOW}")
    with api.sync_playwright() as playwright:
        # Of root, which containers run as, Chromium asks to do without its sandbox.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Name to file: of a participant, of a participant and of a group whose names are hostile, of a group."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = (make_arm(EVIL, 2.0), make_arm("DL3", 3.0, seed=1))
    picture = arms_picture(make_report())
    slopes = age_slopes_figure(make_age(), reference="PI2")
    shown = {
        "example": GroupFigure("sub-01 in all arms", "", picture.about, picture.image, topic="maps"),
        "figures": (GroupFigure("Slopes with age", "", "Slopes.", svg_bytes(slopes), topic="age"),),
    }
    texts = {
        "participant": participant_page(make_report()),
        "hostile": participant_page(
            make_report(participant=EVIL, arms=hostile, reference_arm=EVIL, regions=make_regions((EVIL, "DL3")))
        ),
        "group": group_page(make_group(**shown)),
        "hostile_group": group_page(make_group(**shown, dataset=EVIL, problems={EVIL: EVIL}, notes=(EVIL,))),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture
def visit(browser, pages):
    """A page in a fresh browser; ``viewport`` and ``scheme`` choose its size and its colours."""
    contexts = []

    def go(name, *, viewport=None, scheme="light"):
        context = browser.new_context(viewport=viewport or WIDE, color_scheme=scheme, offline=True)
        contexts.append(context)
        return Opened(context.new_page(), pages[name])

    yield go
    for context in contexts:
        context.close()
