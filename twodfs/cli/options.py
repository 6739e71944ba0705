"""Options that several commands have."""

from __future__ import annotations

from typing import Final

from twodfs.cli.parser import CommandParser, file

IMAGES: Final = "images"
"""The command that lists the images of the local store."""


def add_registry_options(parser: CommandParser) -> None:
    """Declare how the command's registry is spoken to; ``Security.of`` reads it."""
    parser.add_flag("--plain-http", text="Speak HTTP without TLS. A registry on this machine needs no asking.")
    parser.add_flag("--tls", text="Speak TLS, also to a registry on this machine.")
    add_ca_file(parser)


def add_ca_file(parser: CommandParser) -> None:
    """Declare the options for CAs and TLS."""
    text = "Certificates in PEM to trust beside the system's and Docker's certs.d."
    parser.add_argument("--ca-file", **file(), help=text)


def add_output_options(parser: CommandParser) -> None:
    """Declare the options for output: ``json`` and ``quiet``."""
    parser.add_flag("--json", text="Print the result as JSON, for programs.")
    parser.add_flag("--quiet", "-q", text="Say nothing but results and errors.")


def add_platforms(parser: CommandParser, text: str) -> None:
    """Declare which images of an index are meant."""
    parser.add_argument("--platform", action="append", metavar="TEXT", help=text)


def add_image(parser: CommandParser) -> None:
    """Declare ``reference``, an image to be read."""
    text = "An image or a partition, built here or in a registry."
    parser.list_with(parser.add_argument("reference", metavar="REF", help=text), IMAGES)


def add_registry(parser: CommandParser) -> None:
    """Declare ``registry``, None where it is left out."""
    text = "As host or host:port; Docker Hub where left out."
    parser.add_argument("registry", metavar="REGISTRY", nargs="?", help=text)
