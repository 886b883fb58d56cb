"""A page in the browser, with what it asked for and what went wrong; and waiting for it."""

import time

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 420, "height": 900}
EVIL = '<img src=x onerror="document.title=1">&"\''
PATIENCE_S = 20.0


class Opened:
    """One page."""

    def __init__(self, page, path):
        self.page, self.requests, self.problems = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")


def until(page, expression):
    """Wait until an expression holds; Playwright's own waiting makes code of text, which the page's policy forbids."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"still not so: {expression}"
        page.wait_for_timeout(30)


def open_details(page):
    """Show what is folded."""
    page.evaluate("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
