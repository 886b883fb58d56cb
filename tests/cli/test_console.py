"""What a command says while it works: a live display on a terminal, plain lines elsewhere, nothing when quiet."""

from io import StringIO

import pytest
from rich.console import Console

from dlqsm.cli.console import Talk


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Talk, StringIO]:
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=80, highlight=False)
    monkeypatch.setattr("dlqsm.cli.console.Console", lambda **options: console)
    return Talk(quiet=False), screen


def test_a_terminal_shows_what_is_at_work_and_keeps_the_steps_that_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    talk, screen = on_terminal(monkeypatch)
    with talk.stepping("maps") as step:
        step("unwrap", 1.25)
    with talk.working("registration") as advance:
        advance(0.5)
    said = screen.getvalue()
    assert "maps" in said and "0:00:0" in said
    assert "unwrap" in said and "1.2 s" in said and "registration" in said
    assert "\x1b[?25h" in said, "the cursor comes back"


@pytest.mark.parametrize("quiet", [False, True])
def test_elsewhere_steps_are_plain_lines_and_quiet_is_silent(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    talk = Talk(quiet=quiet)
    with talk.stepping("maps") as step:
        step("unwrap", 1.25)
    said = capsys.readouterr()
    assert said.out == "" and said.err.split() == ([] if quiet else ["unwrap", "1.2", "s"])
