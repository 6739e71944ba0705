"""Forget the username and password for a registry.

Example:
    twodfs logout registry.example.com
"""

from __future__ import annotations

from argparse import Namespace

from twodfs.cli.options import add_output_options, add_registry
from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_registry(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Forget the credentials for a registry; raises ``AuthError`` when they cannot be removed."""
    from twodfs.cli.console import print_json, say
    from twodfs.cli.registries import registry_name
    from twodfs.credentials.login import erase_credentials

    name = registry_name(arguments.registry or "")
    was_known = erase_credentials(name)
    if arguments.json:
        print_json({"registry": name, "removed": was_known})
    elif not arguments.quiet:
        say(f"logged out of {name}" if was_known else f"not logged in to {name}")
    return 0
