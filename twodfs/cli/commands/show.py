"""Write what runs an image or mounts its files: commands, Compose, Kubernetes, a Containerfile.

An image with a program is run. One that has files alone, as a partition on scratch, is copied from (docker,
containerfile) or mounted into SERVER (compose, kubernetes); image-volume and --server mount any. The directories
are read from the headers of the cells, as 'twodfs inspect --files' does, or are those of --path.

The text is for a partition as it is pulled from the proxy: --proxy says where that is, where REF names the registry
or an image of the local store. Nothing is run or changed; with --pin the proxy is asked for the partition, so that it
knows the digest from then on.

Example:
    twodfs show registry.example.com/model:v1--edge --as docker --proxy models.example.com | sh
    twodfs show registry.example.com/model:v1--edge --as image-volume --pin | kubectl apply -f -
    twodfs show registry.example.com/model:v1--edge --as kubernetes --layout modelcar
"""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from twodfs.choices import Annotating, RunAs, RunLayout
from twodfs.cli.options import add_image, add_output_options, add_registry_options
from twodfs.cli.parser import CommandParser, one_of
from twodfs.errors import BuildError, FormatError, RegistryError, UsageError
from twodfs.printable import LAYOUT, printable

if TYPE_CHECKING:
    from twodfs.cli.registries import Registries
    from twodfs.oci.reference import Reference


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    add_image(parser)
    parser.add_argument("--as", dest="run_as", **one_of(RunAs), required=True, help="What the text is for.")
    parser.add_argument("--proxy", metavar="HOST", help="The proxy's address, in the place of REF's registry.")
    parser.add_flag("--pin", text="Name the digest, too: exactly these bytes, whatever becomes of the tag.")
    parser.add_argument("--platform", metavar="TEXT", help="Which of the image's platforms, as linux/arm64.")
    parser.add_argument("--server", metavar="IMAGE", help="The image whose program reads the files.")
    parser.add_argument(
        "--path", metavar="DIR", action="append", help="A directory of the image that has files; may be given again."
    )
    parser.add_argument(
        "--mount",
        metavar="DIR",
        help="Mount the whole image here, not each directory where the image has it: for containerd before 2.2, which "
        "knows no directories of image volumes.",
    )
    parser.add_argument("--pull-secret", metavar="NAME", help="Kubernetes' Secret with the login for the registry.")
    parser.add_argument(
        "--layout", **one_of(RunLayout), help="modelcar: KServe's InferenceService; with --as kubernetes."
    )
    parser.add_argument(
        "--annotate",
        **one_of(Annotating),
        help="modelpack: say what the image says about itself in ModelPack's words (org.cnai.model.*), too.",
    )
    add_registry_options(parser)
    add_output_options(parser)


def run(arguments: Namespace) -> int:
    """Print the text; raises ``TwodfsError``."""
    from dataclasses import replace

    from twodfs.cli.console import print_json
    from twodfs.cli.lookup import find
    from twodfs.cli.registries import Registries, Security, registry_name
    from twodfs.oci.platforms import Platform
    from twodfs.oci.reference import Reference
    from twodfs.running.request import RunRequest, write_for

    security = Security.of(arguments)
    reference = Reference.parse(arguments.reference)
    shown = replace(reference, registry=registry_name(arguments.proxy)) if arguments.proxy else reference
    request = RunRequest(
        run_as=arguments.run_as,
        reference=shown,
        layout=arguments.layout,
        annotating=arguments.annotate,
        is_pinned=arguments.pin,
        platform=Platform.parse(arguments.platform) if arguments.platform else None,
        server=arguments.server,
        paths=tuple(_directory(one, "--path") for one in arguments.path or ()),
        mount=_directory(arguments.mount, "--mount") if arguments.mount else "",
        pull_secret=arguments.pull_secret or "",
    )
    with Registries(reference.registry, security) as registries:
        registries.secure(shown.registry, security)
        image = find(reference, registries)
        written = write_for(request, image)
        if arguments.pin:
            _make_known(written.reference, registries)
    if arguments.json:
        print_json({"reference": str(written.reference), "digest": image.root.digest, "text": written.text})
    else:
        sys.stdout.write(printable(written.text, kept=LAYOUT))
    return 0


def _make_known(reference: Reference, registries: Registries) -> None:
    """Ask for the tag of ``reference``: until somebody has, a proxy does not know the digest of a partition.

    Raises:
        BuildError: it names nothing there, or something else.
    """
    from http import HTTPStatus

    try:
        found = registries.repository(reference).resolve(reference.tag or reference.name).digest
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise BuildError(
            f"{reference.registry} does not have {reference.repository}:{reference.tag}, so its digest could not be "
            f"pulled; --proxy says where the proxy is"
        ) from None
    if found != reference.digest:
        raise BuildError(f"{reference.registry} gives {found} for {reference}; is it before the same registry?")


def _directory(text: str, option: str) -> str:
    from twodfs.layers.destinations import parse_destination

    try:
        directory = parse_destination(text, option)
    except FormatError as error:
        raise UsageError(str(error)) from None
    if not directory:
        raise UsageError(f"{option} / is everything; name a directory below it")
    return f"/{directory}"
