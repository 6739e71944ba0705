"""Give an image one more name: in the local store, or in its registry.

An image of the local store gets the name there, and 'twodfs push NEW' takes it to a registry. One that the store
does not have gets it in its registry, where the new tag names the same bytes at once; with --registry, one that
the store has, too. For another repository, 'twodfs copy'.

Example:
    twodfs tag registry.example.com/model:v1 registry.example.com/model:latest
"""

from __future__ import annotations

from argparse import Namespace
from http import HTTPStatus
from typing import TYPE_CHECKING

from twodfs.cli.options import IMAGES, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser
from twodfs.errors import BuildError, RegistryError, UsageError

if TYPE_CHECKING:
    from twodfs.cli.registries import Security
    from twodfs.oci.digest import Digest
    from twodfs.oci.reference import Reference


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    old = parser.add_argument("old", metavar="OLD", help="An image that was built here, or is in a registry.")
    parser.list_with(old, IMAGES)
    parser.add_argument("new", metavar="NEW", help="What it is called, too.")
    parser.add_flag("--registry", text="In the registry, whatever the local store has.")
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Name an image, and print the name and the image's digest; raises ``TwodfsError``."""
    from twodfs.cli.console import open_progress, print_json, say
    from twodfs.cli.pushing import parse_new
    from twodfs.cli.registries import Security
    from twodfs.oci.reference import Reference

    security = Security.of(arguments)
    old, new = Reference.parse(arguments.old), parse_new(arguments.new)
    digest = None if arguments.registry or old.digest else _in_store(old, new)
    place = "registry" if digest is None else "store"
    if digest is None:
        digest = _in_registry(old, new, security)
    if arguments.json:
        print_json({"reference": str(new), "digest": digest, "place": place})
        return 0
    with open_progress(quiet=arguments.quiet) as progress:
        further = "" if place == "registry" else f"; 'twodfs push {new}' takes it to its registry"
        progress.note(f"named in the {place}{further}")
    say(f"{new}@{digest}")
    return 0


def _in_store(old: Reference, new: Reference) -> Digest | None:
    """Name an image of the store; return its digest, None where the store does not have it."""
    from twodfs.cli.lookup import existing_store
    from twodfs.oci.documents import MAX_MANIFEST_BYTES, Document
    from twodfs.storage.store import BASE_NAME, base_name_of

    store = existing_store()
    found = None if store is None else store.index.find(str(old))
    if store is None or found is None:
        return None
    with store.in_use():
        body = store.read(found.digest, limit=MAX_MANIFEST_BYTES)
        base = base_name_of(found)
        store.index.tag(str(new), Document(found.media_type, found.digest, body), {BASE_NAME: base} if base else {})
    return found.digest


def _in_registry(old: Reference, new: Reference, security: Security) -> Digest:
    """Name an image of a registry; return its digest."""
    if (old.registry, old.repository) != (new.registry, new.repository):
        raise UsageError(f"{old} is not in the local store, and NEW is in another repository; 'twodfs copy' copies it")
    with security.open(old.registry) as registry:
        repository = registry.repository(old.repository, push=True)
        try:
            document = repository.manifest(old.name)
        except RegistryError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise BuildError(
                f"{old} is neither in the local store nor, as a tag, in its registry; of a partition 'twodfs copy' "
                f"makes an image"
            ) from None
        if not repository.has_manifest(document.digest, new.tag):
            repository.put_manifest(document, new.tag)
    return document.digest
