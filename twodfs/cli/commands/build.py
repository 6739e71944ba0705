"""Build an image from BASE and a build file into the local store.

The build file says which files make up the allotment of each row and column, in JSON or YAML:

    {"allotments": [{"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0}]}

It may also name partitions, to be pulled as TARGET--edge:

    {"partitions": {"edge": "0.0.1.1"}, "allotments": [...]}

A model's directory needs no build file:

    twodfs build --model ./llama --stages 4 registry.example.com/llama:v1

'twodfs schema' prints a JSON Schema of all keys of a build file, for editors.

Example:
    twodfs build docker.io/library/busybox registry.example.com/model:v1 --push

A registry that is silent for 60 seconds is asked again, as 'twodfs push --help' says.

The same files on the same BASE give the same bytes. The store is ~/.cache/twodfs or $TWODFS_STORE.
Attestations of BASE are left out: they vouch for other digests than the new image's.
"""

from __future__ import annotations

import os
from argparse import ArgumentTypeError, Namespace

from twodfs.choices import DEFAULT_NAMES, MAX_STAGES, Anchor, Compression, MediaTypes
from twodfs.cli.options import add_ca_file, add_output_options, add_platforms
from twodfs.cli.parser import CommandParser, file, one_of, whole_number
from twodfs.errors import UsageError

_MOST_JOBS = 64


def declare(parser: CommandParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "base",
        metavar="BASE",
        nargs="?",
        help="The image to put the field on: in a registry, scratch, or on this machine as "
        "oci:DIR, oci-archive:FILE or docker-archive:FILE, with :NAME where there are several, or "
        "docker-daemon:NAME in the Docker Engine ($DOCKER_HOST). With --model it may be left out for scratch.",
    )
    parser.add_argument("target", metavar="TARGET", help="What the new image is called.")
    parser.add_argument(
        "--file",
        "-f",
        **file(),
        help=f"The build file, JSON or YAML; - is standard input. {' or '.join(DEFAULT_NAMES)} where it is left out.",
    )
    parser.add_argument(
        "--set",
        action="append",
        type=_variable,
        metavar="NAME=VALUE",
        help="The value of ${NAME} in the build file; again for another. The environment has the others.",
    )
    parser.add_argument(
        "--model",
        **{**file(), "metavar": "DIR"},
        help="A model's directory, in the place of a build file: safetensors, GGUF, ONNX or other files of weights; "
        "a snapshot in a model hub's cache, too.",
    )
    parser.add_argument(
        "--split",
        metavar="files|layers|SIZE",
        help="What a cell of the model holds: a file, a layer (of safetensors), or files of SIZE together, as 2GB. "
        "layers where it is left out and names of tensors show them, else files.",
    )
    parser.add_argument(
        "--stages",
        **whole_number(1, MAX_STAGES),
        help="Stages of a pipeline, balanced by bytes; TARGET--stage1of4 is the first of four.",
    )
    parser.add_argument(
        "--max-layer", metavar="SIZE", help="What a cell of the model may have at most; 9GB where it is left out."
    )
    parser.add_argument(
        "--layer-pattern",
        metavar="REGEX",
        help="Tells the layers of the model from names of tensors, as 'stage(\\d+)\\.'; its one group is the number.",
    )
    parser.add_argument(
        "--at", metavar="PATH", help="Where the model goes in the image; /models/NAME where it is left out."
    )
    parser.add_flag("--dry-run", text="Print the cells, their sizes and the named partitions, and build nothing.")
    parser.add_argument(
        "--write-2dfs", **file(), help="Write the build file that the model amounts to, to go on by hand."
    )
    add_platforms(
        parser,
        "Which image of BASE, as linux/arm64; several between commas, or again. "
        "All where it is left out; linux/amd64 for scratch.",
    )
    parser.add_flag(
        "--push", text="Push the image once it is built; what it shares with the last push to TARGET is not asked for."
    )
    parser.add_flag(
        "--plain-http", text="Speak HTTP without TLS to TARGET's registry. One on this machine needs no asking."
    )
    parser.add_flag("--tls", text="Speak TLS to TARGET's registry, also to one on this machine.")
    parser.add_flag("--base-plain-http", text="Speak HTTP without TLS to BASE's registry.")
    parser.add_flag("--base-tls", text="Speak TLS to BASE's registry, also to one on this machine.")
    add_ca_file(parser)
    parser.add_argument(
        "--anchor",
        **one_of(Anchor),
        default=Anchor.INDEX,
        help="index: an entry of the index keeps the allotments alive in the registry; "
        "a BASE that is a single manifest becomes an index. none: BASE's form stays.",
    )
    parser.add_argument(
        "--compression",
        **one_of(Compression),
        default=Compression.AUTO,
        help="Of the allotments. auto takes a sample of each: gzip where it saves a fifth, else none, as for weights.",
    )
    parser.add_argument(
        "--level", **whole_number(), help="Of gzip, 1 to 9 (default 1), or of zstd, 1 to 22 (default 3)."
    )
    parser.add_argument(
        "--media-types",
        **one_of(MediaTypes),
        help="Whose the new image has: oci, docker or those of BASE. Those of BASE where it is left out, "
        "but oci with zstd, which Docker's have no name for that podman takes.",
    )
    parser.add_flag("--compat", text="Write gzip and the field as the original registry wants them.")
    parser.add_argument(
        "--max-inflated",
        metavar="SIZE",
        help="What an archive or layer of BASE that is compressed may inflate to, as 20GB; "
        "100 times its own size by default, at least 1GB.",
    )
    parser.add_flag(
        "--checksum",
        text="Go by what files hold, not by their times; hash what the store has, and ask the registry for all of it.",
    )
    parser.add_argument(
        "--jobs", **whole_number(1, _MOST_JOBS), help="Allotments written at a time; as many as processors by default."
    )
    add_output_options(parser)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise ArgumentTypeError(f"is {text!r}; expected NAME=VALUE")
    return name, value


def run(arguments: Namespace) -> int:
    """Build, and push where asked to; raises ``TwodfsError``."""
    from twodfs.cli.bases import BaseRequest, parse_base
    from twodfs.cli.building import BuildRequest, build
    from twodfs.cli.model_options import BuildSource
    from twodfs.cli.registries import Security
    from twodfs.images.scratch import SCRATCH
    from twodfs.layers.compression import Packing
    from twodfs.oci.platforms import parse_platforms

    source = BuildSource.of(arguments)
    if arguments.base is None and source.model is None:
        # Only --model does without BASE: else the one that is there is BASE.
        raise UsageError("missing: TARGET; 'twodfs build --help' explains")
    asked = BuildRequest(
        base=BaseRequest(
            image=parse_base(arguments.base or SCRATCH),
            platforms=parse_platforms(arguments.platform or ()),
            security=Security(arguments.base_plain_http, arguments.base_tls, arguments.ca_file),
            max_inflated=arguments.max_inflated,
        ),
        target=arguments.target,
        source=source,
        is_dry=arguments.dry_run,
        push=arguments.push,
        security=Security.of(arguments),
        anchor=arguments.anchor,
        packing=Packing(arguments.compression, arguments.level, gzip_only=arguments.compat),
        media_types=arguments.media_types,
        checksum=arguments.checksum,
        jobs=arguments.jobs or min(os.cpu_count() or 1, _MOST_JOBS),
    )
    build(asked, as_json=arguments.json, quiet=arguments.quiet)
    return 0
