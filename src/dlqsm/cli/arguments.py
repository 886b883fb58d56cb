"""Arguments that commands share, and options made from the signatures of methods."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlqsm.cli.failure import EXIT_UNUSABLE


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, without a page of usage, and that takes no abbreviations."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **keywords)
        self.words: Sequence[str] = ()

    def swallows(self, words: Sequence[str]) -> bool:
        """Whether any of the options given takes as many words as follow it."""
        lists = [action.option_strings for action in self._actions if action.nargs in ("+", "*")]
        return any(flag in words for flags in lists for flag in flags)

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit with 2."""
        if message.startswith("the following arguments are required") and self.swallows(self.words):
            message += " (options that take several values take what follows them: put folders and files before them)"
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(EXIT_UNUSABLE)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    group = parser.add_argument_group("common")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where volumes are computed")
    group.add_argument("--threads", type=int, metavar="N", help="processor threads (default: all)")
    group.add_argument("--quiet", action="store_true", help="print nothing but results and errors")
    group.add_argument("--overwrite", action="store_true", help="replace results that exist")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_memory_argument(parser: argparse._ActionsContainer) -> None:
    """Add ``--mem``, which every command has that computes on volumes."""
    parser.add_argument(
        *spelled("--mem", "--mem-mb"), type=positive(float), metavar="MB",
        help="memory that the command may take [MB]: it splits its work where it can, and refuses where it cannot "
        "(default: no limit)",
    )  # fmt: skip


def add_method_options(
    parser: argparse.ArgumentParser,
    options: Mapping[str, Any],
    *,
    title: str,
    prefix: str = "",
) -> None:
    """Add one option for each keyword-only parameter of a method; absent ones keep the signature's default.

    Parameters
    ----------
    options
        What `dlqsm.core.methods.options_of` returns.
    title
        Heading in the help.
    prefix
        Put before each name, as in ``--inversion-strength``.
    """
    group = parser.add_argument_group(title)
    for name, option in options.items():
        flag = f"--{prefix}{name.replace('_', '-')}"
        described = f"{_percent(option.help)} (default: {_shown(option.default)})"
        keywords: dict[str, Any] = {"default": argparse.SUPPRESS, "help": described, "dest": _key(prefix, name)}
        if option.kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
        elif option.kind is tuple:
            group.add_argument(flag, nargs="+", type=finite, metavar="X", **keywords)
        else:
            metavar = {int: "N", float: "X"}.get(option.kind, "S")
            kind = finite if option.kind is float else option.kind
            group.add_argument(flag, type=kind, metavar=metavar, **keywords)


def method_options(arguments: argparse.Namespace, options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of a method that the user gave."""
    given = {name: getattr(arguments, _key(prefix, name)) for name in options if hasattr(arguments, _key(prefix, name))}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def spelled(*flags: str) -> tuple[str, ...]:
    """Each flag with dashes and with underscores between its words, as BIDS Apps take both."""
    both = [(flag, f"--{flag.removeprefix('--').replace('-', '_')}") for flag in flags if flag.startswith("--")]
    short = [flag for flag in flags if not flag.startswith("--")]
    return tuple(dict.fromkeys([*short, *(name for pair in both for name in pair)]))


def peek(words: list[str], flag: str, default: str) -> str:
    """The last value of ``flag`` in unparsed words, as the parser has it: the method decides which options exist."""
    value = default
    for index, word in enumerate(words):
        if word == flag and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value


def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Argument type: a finite number above zero."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number above zero; got '{text}'") from None
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a number above zero; got '{text}'")
        return value

    return convert


def finite(text: str) -> float:
    """Argument type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number; got '{text}'") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number; got '{text}'")
    return value


def seed(text: str) -> int:
    """Argument type: where random numbers begin, a whole number from zero on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, zero or above; got '{text}'")
    return int(text)


def path(text: str) -> Path:
    """Argument type: a path, with ~ understood; an empty one is a variable that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path; got an empty text")
    return Path(text).expanduser()


def _key(prefix: str, name: str) -> str:
    return f"option_{prefix.replace('-', '_')}{name}"


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(text: str) -> str:
    """Argparse formats help with %."""
    return text.replace("%", "%%")
