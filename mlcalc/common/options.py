"""Options of a command line that apply to one kind of input."""

import argparse
from typing import Any

from mlcalc.common.errors import InputError


def refuse_unused(options: argparse.Namespace, defaults: dict[str, Any], whose: str) -> None:
    """Raise InputError for an option that would be ignored: one of these, by name, that has not its default.

    Args:
        whose: What they are options of: "of --scan only".
    """
    for name, default in defaults.items():
        if getattr(options, name) != default:
            raise InputError(f"--{name.replace('_', '-')}: an option {whose}; leave it out")
