"""Options that several commands have."""

from __future__ import annotations

from twodfs.cli.parser import CommandParser, file


def add_directory_options(parser: CommandParser) -> None:
    """Declare how the edge directory is named; options before the command's name count as well."""
    parser.add_argument("--edge", metavar="DIR", help="The edge directory.")
    parser.add_argument("--config", **file(), help="The node's TOML file, which names it; the environment counts, too.")
