"""Try a username and password at a registry and keep them where Docker keeps them.

That is Docker's config.json, or the credential helper that it names: 'twodfs login' or 'docker login',
one is as good as the other.

Example:
    twodfs login registry.example.com --username ann
    cat password | twodfs login registry.example.com --username ann --password-stdin
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Final

from twodfs.cli.options import add_output_options, add_registry, add_registry_options
from twodfs.cli.parser import CommandParser
from twodfs.errors import UsageError

if TYPE_CHECKING:
    from twodfs.credentials.credentials import Credentials

_MAX_PASSWORD: Final = 64 * 1024


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_registry(parser)
    parser.add_argument("--username", "-u", metavar="TEXT", help="Asked for where left out.")
    parser.add_flag("--password-stdin", text="Read the password from standard input.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Try credentials at a registry, keep them where Docker keeps them, and say where.

    Raises:
        AuthError: the registry refuses them, or they cannot be kept.
        TwodfsError: see its other subclasses.
    """
    from twodfs.cli.console import print_json, say
    from twodfs.cli.registries import Security, registry_name
    from twodfs.credentials.login import store_credentials

    credentials = _credentials(arguments.username or "", from_stdin=arguments.password_stdin)
    security = Security.of(arguments)
    name = registry_name(arguments.registry or "")
    with security.open(name, lambda _registry: credentials) as opened:
        was_checked = opened.check_login()
    place = store_credentials(name, credentials)
    if arguments.json:
        print_json({"registry": name, "username": credentials.username, "checked": was_checked, "keptIn": place})
    elif arguments.quiet:
        return 0
    elif was_checked:
        say(f"logged in to {name} as {credentials.username}; kept in {place}")
    else:
        say(f"{name} lets anyone in, so nobody checked the password; kept in {place}")
    return 0


def _credentials(username: str, *, from_stdin: bool) -> Credentials:
    from twodfs.cli.console import ask
    from twodfs.credentials.credentials import Credentials

    if not from_stdin and not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask on; --password-stdin reads the password from standard input")
    if from_stdin and not username:
        raise UsageError("--password-stdin takes --username as well")
    username = username or ask("Username")
    if from_stdin:
        password = sys.stdin.read(_MAX_PASSWORD).rstrip("\r\n") if sys.stdin else ""
    else:
        password = ask("Password", hidden=True)
    if not username or not password or ":" in username:
        raise UsageError("expected a username without a colon, and a password")
    return Credentials(username, password)
