"""Copy an image or a partition from registry to registry.

An image goes as it is, with its field and all allotments; a partition, as REF--edge, becomes an ordinary image.
What TARGET's registry has is left out, what another of its repositories has is taken from there, and the rest
passes through: nothing is stored on this machine. A copy that was interrupted goes on when it is made again.

Example:
    twodfs copy registry.example.com/model:v1 backup.example.com/model:v1 --referrers
    twodfs copy registry.example.com/model:v1--edge registry.example.com/model-edge:v1
"""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.cli.options import add_ca_file, add_output_options
from twodfs.cli.parser import CommandParser

if TYPE_CHECKING:
    from twodfs.registry.upload.parts import UploadMemory


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument("reference", metavar="REF", help="An image or a partition in a registry.")
    parser.add_argument("target", metavar="TARGET", help="What the copy is called.")
    parser.add_flag("--referrers", text="Copy signatures and other artifacts that refer to the image, too.")
    parser.add_flag(
        "--plain-http", text="Speak HTTP without TLS to TARGET's registry. One on this machine needs no asking."
    )
    parser.add_flag("--tls", text="Speak TLS to TARGET's registry, also to one on this machine.")
    parser.add_flag("--ref-plain-http", text="Speak HTTP without TLS to REF's registry.")
    parser.add_flag("--ref-tls", text="Speak TLS to REF's registry, also to one on this machine.")
    add_ca_file(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Copy an image, and print its new reference and digest; raises ``TwodfsError``."""
    from twodfs.cli.console import open_progress, print_json
    from twodfs.cli.grid import count_text
    from twodfs.cli.lookup import find
    from twodfs.cli.pushing import parse_new, push_json, push_summary
    from twodfs.cli.registries import Registries, Security
    from twodfs.copying.image import Copying, copy_image
    from twodfs.oci.reference import Reference

    security = Security.of(arguments)
    of_reference = Security(arguments.ref_plain_http, arguments.ref_tls, arguments.ca_file)
    reference, target = Reference.parse(arguments.reference), parse_new(arguments.target)
    with open_progress(quiet=arguments.quiet) as progress, Registries(target.registry, security) as registries:
        registries.secure(reference.registry, of_reference)
        source = registries.repository(reference)
        goal = registries.repository(target, push=True)
        copied = copy_image(
            Copying(
                image=find(reference, registries, in_the_store=False),
                source=source,
                target=goal,
                tag=target.name,
                mounts=reference.registry == target.registry,
                referrers=arguments.referrers,
                memory=_memory(str(goal)),
            ),
            progress,
        )
        also = f"; {count_text(copied.referrers, 'referrer')}" if arguments.referrers else ""
        progress.note(push_summary(copied.pushed) + also)
    root = copied.pushed.root
    if arguments.json:
        counts = {**push_json(copied.pushed), "referrers": copied.referrers}
        print_json({"reference": str(target), "digest": root.digest, "mediaType": root.media_type, **counts})
    else:
        print(f"{target}@{root.digest}")
    return 0


def _memory(repository: str) -> UploadMemory:
    """Return what remembers uploads: the store, where there is one that can be used."""
    from twodfs.errors import BuildError
    from twodfs.registry.upload.parts import Forgetful
    from twodfs.storage.store import ImageStore, default_directory
    from twodfs.storage.uploads import BegunUploads

    try:
        return BegunUploads(ImageStore(default_directory()).directory, repository)
    except BuildError:
        return Forgetful()
