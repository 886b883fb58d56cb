"""Photograph the top of both kinds of page for the documentation.

python scripts/page_pictures.py demo_out/report.html OUT/group.html

Writes docs/page_participant.webp and docs/page_group.png. Needs Chromium and Playwright: scripts/browser_tests.sh
installs both.
"""

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dlqsm.core.checks import InputError

ROOT = Path(__file__).parent.parent
WIDTH, MARGIN = 1280, 28


def main() -> None:
    """Run the script."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    participant, group = map(Path, sys.argv[1:])
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        store(photograph(page, participant, last="#maps"), "page_participant.webp", quality=82, method=6)
        # Flat colours: a palette of them all takes a third of the room.
        picture = photograph(page, group, last=".key").quantize(
            256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
        store(picture, "page_group.png", optimize=True)
        browser.close()


def chromium() -> str:
    """The Chromium of the machine."""
    found = os.environ.get("DLQSM_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise InputError("Chromium is missing; expected it on the path or in DLQSM_CHROMIUM: scripts/browser_tests.sh")
    return found


def photograph(page: Page, path: Path, *, last: str) -> Image.Image:
    """The page from its top to the end of an element."""
    page.goto(path.resolve().as_uri())
    page.wait_for_timeout(1500)
    found = page.locator(last).first.bounding_box()
    if found is None:
        raise InputError(f"{path}: expected a page of dlqsm with {last}; it has none, make it anew with dlqsm report")
    height = int(found["y"] + found["height"]) + MARGIN
    shown = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    return Image.open(BytesIO(shown)).convert("RGB")


def store(picture: Image.Image, name: str, **options: object) -> None:
    """Write a picture to docs/ and say how large it is."""
    path = ROOT / "docs" / name
    picture.save(path, **options)
    print(f"{path.relative_to(ROOT)}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
