"""Print the JSON Schema of the build file, for editors that complete and check it.

Example:
    twodfs schema > 2dfs.schema.json

A build file names it with "$schema": "./2dfs.schema.json"; in YAML, a first line
'# yaml-language-server: $schema=./2dfs.schema.json' does. 'docs/build-file.md' explains each key.
"""

from __future__ import annotations

import sys
from argparse import Namespace

from twodfs.cli.parser import CommandParser


def declare(parser: CommandParser) -> None:
    """Declare the command's options: none."""
    del parser


def run(arguments: Namespace) -> int:
    """Print the schema."""
    del arguments
    from twodfs.layers.build_file.schema import written_schema

    sys.stdout.write(written_schema())
    return 0
