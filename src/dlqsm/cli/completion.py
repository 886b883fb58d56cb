"""Print a script that completes commands, options, methods and files in a shell.

bash: dlqsm completion bash > ~/.local/share/bash-completion/completions/dlqsm
zsh:  dlqsm completion zsh > FOLDER/_dlqsm, FOLDER being one of $fpath
fish: dlqsm completion fish > ~/.config/fish/completions/dlqsm.fish

A new shell reads it. Write it anew after an update of dlqsm.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

import shtab

from dlqsm.cli import COMMANDS, module_of
from dlqsm.cli.arguments import Parser, add_common_arguments, path
from dlqsm.config import STEPS

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("shell", choices=SHELLS, help="shell that will read the script")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the script goes to standard output."""
    print(shtab.complete(whole_parser(), shell=arguments.shell, root_prefix="dlqsm"))
    return 0


def whole_parser() -> Parser:
    """One parser of all commands with the options of every method, where a run has one command and chosen methods."""
    whole = Parser(prog="dlqsm")
    whole.add_argument("--version", action="store_true", help="version and commit")
    commands = whole.add_subparsers(dest="command", parser_class=Parser)
    for name, text in COMMANDS.items():
        parser = commands.add_parser(name, help=text)
        _declare(parser, name)
        for action in _actions(parser):
            if action.type is path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return whole


def _declare(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the arguments of a command, and the options that it has with another than the default method."""
    command = importlib.import_module(module_of(name))
    command.add_arguments(parser, [])
    for flag, method in list(_methods(parser)):
        other = Parser(prog=parser.prog)
        command.add_arguments(other, [flag, method])
        known = {option for action in _actions(parser) for option in action.option_strings}
        for action in _actions(other):
            if action.option_strings and not known & set(action.option_strings):
                parser._add_action(action)
    add_common_arguments(parser)


def _methods(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    flags = {"--method", *(f"--{step}" for step in STEPS)}
    for action in _actions(parser):
        for flag in flags & set(action.option_strings):
            yield from ((flag, str(choice)) for choice in action.choices or ())


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions
