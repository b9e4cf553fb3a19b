"""Completion of commands, options and files in a shell: ``mlcalc --print-completion bash``, by shtab."""

import argparse
from pathlib import Path

import shtab


def add_completion(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add ``--print-completion``, and mark which arguments of all its commands are files; returns the parser."""
    shtab.add_argument_to(parser, "--print-completion", help="print the script of a shell that completes this command")
    _mark_files(parser)
    return parser


def _mark_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_files(command)
        elif action.choices is None and (action.type is Path or not action.option_strings):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
