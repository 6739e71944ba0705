"""The ``twodfs`` command: build, push, export, inspect and repair 2DFS images.

Results go to standard output, progress and errors to standard error. The exit status is 0 when it worked,
1 when it failed or found something wrong, 2 when the command line or the build file is wrong, 130 when it was
interrupted.

    grid        a field drawn as text (pure)
    help        help as text
    arguments   a command line, read and explained
    console     what is said, and where
    security    plain HTTP or TLS, and whom to trust
    commands    what build and push do
    existing    what the commands do that look into images and registries
    storage     what those do that look after the store
    trust       what verify does
    (this)      the commands, their arguments and help

The last are imported when one runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, NoReturn

from twodfs import __version__
from twodfs.choices import DEFAULT_NAME, Anchor, ArchiveFormat, Compression, MediaTypes
from twodfs.cli.arguments import Argument, Commands, Option
from twodfs.cli.security import Security
from twodfs.errors import BuildFileError, InvalidReferenceError, KeyFormatError, TwodfsError, UsageError
from twodfs.printable import printable

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_MAX_PASSWORD: Final = 64 * 1024

_HELP = """Put big files into a container image as a field: rows and columns of small, independent layers.

A proxy in front of the registry cuts any rectangle out of it: pulling model:v1--0.0.1.2 \
gives the base with rows 0 to 1, columns 0 to 2.

Example:
    twodfs build docker.io/library/busybox registry.example.com/model:v1 --push
    twodfs inspect registry.example.com/model:v1

Exit status:
    0    it worked
    1    it failed, or 'doctor' found something
    2    the command line or the build file is wrong
    130  it was interrupted

What is wrong goes to standard error as a line; with --json to standard output as well, as
{"error": {"message": "...", "exitStatus": 1}}.
"""

program = Commands("twodfs", _HELP, f"twodfs {__version__}")

_PlainHttp = Annotated[
    bool,
    Option("--plain-http", help="Speak HTTP without TLS. A registry on this machine needs no asking."),
]
_Tls = Annotated[bool, Option("--tls", help="Speak TLS, also to a registry on this machine.")]
_CaFile = Annotated[
    Path | None,
    Option("--ca-file", help="Certificates in PEM to trust beside the system's and Docker's certs.d."),
]
_Json = Annotated[bool, Option("--json", help="Print the result as JSON, for programs.")]
_Quiet = Annotated[bool, Option("--quiet", "-q", help="Say nothing but results and errors.")]
_Registry = Annotated[str, Argument("REGISTRY", "As host or host:port; Docker Hub where left out.")]


def main() -> None:
    """Run the command line."""
    # Loading makes many objects and no garbage: collecting it took a tenth of the time of a short command.
    gc.set_threshold(100_000, 10, 10)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
    if sys.stdout is None:
        _fail("standard output is closed; >/dev/null throws results away", FAILED, is_heard=False)
    _call(lambda: program.run(sys.argv[1:]))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _end_unheard()
    except OSError as error:
        _end_unwritten(error)


@program.add
def build(
    base: Annotated[
        str,
        Argument(
            "BASE",
            "The image to put the field on: in a registry, scratch, or on this machine as "
            "oci:DIR, oci-archive:FILE or docker-archive:FILE, with :NAME where there are several, or "
            "docker-daemon:NAME in the Docker Engine ($DOCKER_HOST).",
        ),
    ],
    target: Annotated[str, Argument("TARGET", "What the new image is called.")],
    *,
    file: Annotated[Path, Option("--file", "-f", help="The build file.")] = Path(DEFAULT_NAME),
    platform: Annotated[
        list[str] | None,
        Option(
            help="Which image of BASE, as linux/arm64; several between commas, or again. "
            "All where it is left out; linux/amd64 for scratch."
        ),
    ] = None,
    push: Annotated[bool, Option("--push", help="Push the image once it is built.")] = False,
    plain_http: Annotated[
        bool,
        Option(
            "--plain-http",
            help="Speak HTTP without TLS to TARGET's registry. One on this machine needs no asking.",
        ),
    ] = False,
    tls: Annotated[bool, Option("--tls", help="Speak TLS to TARGET's registry, also to one on this machine.")] = False,
    base_plain_http: Annotated[
        bool, Option("--base-plain-http", help="Speak HTTP without TLS to BASE's registry.")
    ] = False,
    base_tls: Annotated[
        bool, Option("--base-tls", help="Speak TLS to BASE's registry, also to one on this machine.")
    ] = False,
    ca_file: _CaFile = None,
    anchor: Annotated[
        Anchor,
        Option(
            help="index: an entry of the index keeps the allotments alive in the registry; "
            "a BASE that is a single manifest becomes an index. none: BASE's form stays."
        ),
    ] = Anchor.INDEX,
    compression: Annotated[
        Compression,
        Option(
            help="Of the allotments. auto takes a sample of each: gzip where it saves a fifth, "
            "else none, as for weights."
        ),
    ] = Compression.AUTO,
    level: Annotated[int | None, Option(help="Of gzip, 1 to 9 (default 1), or of zstd, 1 to 22 (default 3).")] = None,
    media_types: Annotated[
        MediaTypes | None,
        Option(
            "--media-types",
            help="Whose the new image has: oci, docker or those of BASE. Those of BASE where it is left out, "
            "but oci with zstd, which Docker's have no name for that podman takes.",
        ),
    ] = None,
    compat: Annotated[
        bool,
        Option("--compat", help="Write gzip and the field as the original registry wants them."),
    ] = False,
    max_inflated: Annotated[
        str | None,
        Option(
            metavar="SIZE",
            help="What an archive or layer of BASE that is compressed may inflate to, as 20GB; "
            "100 times its own size by default, at least 1GB.",
        ),
    ] = None,
    checksum: Annotated[
        bool,
        Option("--checksum", help="Go by what files hold, not by their times; hash what the store has."),
    ] = False,
    jobs: Annotated[
        int | None,
        Option(min=1, max=64, help="Allotments written at a time; as many as processors by default."),
    ] = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Build an image from BASE and a build file into the local store.

    The build file says which files make up the allotment of each row and column:

        {"allotments": [{"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0}]}

    It may also name partitions, to be pulled as TARGET--edge:

        {"partitions": {"edge": "0.0.1.1"}, "allotments": [...]}

    Example:
        twodfs build docker.io/library/busybox registry.example.com/model:v1 --push

    A registry that is silent for 60 seconds is asked again, as 'twodfs push --help' says.

    The same files on the same BASE give the same bytes. The store is ~/.cache/twodfs or $TWODFS_STORE.
    Attestations of BASE are left out: they vouch for other digests than the new image's.
    """
    from twodfs.cli import commands  # noqa: PLC0415
    from twodfs.layers.compression import Packing  # noqa: PLC0415 - see the module's docstring

    asked = commands.Build(
        base=base,
        target=target,
        file=file,
        platforms=tuple(platform or ()),
        push=push,
        security=Security(plain_http, tls, ca_file),
        base_security=Security(base_plain_http, base_tls, ca_file),
        anchor=anchor,
        packing=Packing(compression, level, gzip_only=compat),
        media_types=media_types,
        max_inflated=max_inflated,
        checksum=checksum,
        jobs=jobs or min(os.cpu_count() or 1, 64),
    )
    commands.build(asked, as_json=as_json, quiet=quiet)


@program.add
def push(
    target: Annotated[str, Argument("TARGET", "An image that was built here.")],
    *,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Push an image of the local store to its registry.

    Only what the registry lacks travels. Credentials are those of 'twodfs login' or 'docker login'.

    A registry that is silent for 60 seconds, or for 15 minutes once it has all of a blob, is asked again, as
    one is that says 429 or 5xx: with growing delays, up to 8 times, and for 3 minutes at most.

    Example:
        twodfs push registry.example.com/model:v1
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    commands.push(target, security=Security(plain_http, tls, ca_file), as_json=as_json, quiet=quiet)


@program.add
def export(
    reference: Annotated[str, Argument("REF", "An image or a partition, built here or in a registry.")],
    file: Annotated[Path, Argument("FILE", "The archive to be written; - is standard output.")],
    *,
    archive_format: Annotated[
        ArchiveFormat | None,
        Option(
            "--format",
            help="docker: for 'docker load'; the default for a FILE that ends in .docker or "
            ".docker.tar. oci: for skopeo and podman; the default for any other.",
        ),
    ] = None,
    platform: Annotated[
        list[str] | None,
        Option(help="Which of the images, as linux/arm64; several between commas, or again. All where it is left out."),
    ] = None,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Write an image or a partition of it into an archive, without a proxy.

    The local store is looked into first, then the registry. The same image gives the same bytes.

    Example:
        twodfs export registry.example.com/model:v1--0.0.1.2 model.docker.tar
        docker load --input model.docker.tar
        twodfs export registry.example.com/model:v1--edge - --format docker | docker load
    """
    from twodfs.cli import existing  # noqa: PLC0415 - see the module's docstring

    asked = existing.ExportRequest(
        reference=reference,
        file=file,
        format=archive_format,
        platforms=tuple(platform or ()),
        security=Security(plain_http, tls, ca_file),
    )
    existing.export(asked, as_json=as_json, quiet=quiet)


@program.add
def inspect(
    reference: Annotated[str, Argument("REF", "An image or a partition, built here or in a registry.")],
    *,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Show the field of an image: the size of each allotment, media types and named partitions.

    Of a partition it shows what is selected, and of which image.

    The local store is looked into first, then the registry.

    Example:
        twodfs inspect registry.example.com/model:v1
    """
    from twodfs.cli import existing  # noqa: PLC0415 - see the module's docstring

    del quiet  # there is nothing but the result

    existing.inspect(reference, security=Security(plain_http, tls, ca_file), as_json=as_json)


@program.add
def anchor(
    target: Annotated[str, Argument("REF", "An image in a registry.")],
    *,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Make the allotments of an image known to its registry, so that it keeps them.

    For images of the original builder, and those built with --anchor none: the tag gets an index with one
    more entry, whose layers are the allotments. An anchor of an earlier release, which tools that validate
    images refuse, is replaced. An image that is well stays as it is.

    Example:
        twodfs anchor registry.example.com/model:v1
    """
    from twodfs.cli import existing  # noqa: PLC0415 - see the module's docstring

    existing.anchor(target, security=Security(plain_http, tls, ca_file), as_json=as_json, quiet=quiet)


@program.add
def doctor(
    reference: Annotated[str, Argument("REF", "An image in a registry.")],
    *,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Say which allotments of an image the registry lacks, or may lose.

    The exit status is 0 when it has and keeps them all, else 1. Tags that are hidden by partitions of the
    image are named, too.

    Example:
        twodfs doctor registry.example.com/model:v1
    """
    from twodfs.cli import existing  # noqa: PLC0415 - see the module's docstring

    del quiet  # there is nothing but the result

    if not existing.doctor(reference, security=Security(plain_http, tls, ca_file), as_json=as_json):
        sys.exit(FAILED)


@program.add
def verify(
    reference: Annotated[str, Argument("REF", "An image in a registry, or a partition behind a proxy.")],
    *,
    key: Annotated[
        list[Path],
        Option(
            "--key",
            help="A public key in PEM (ECDSA P-256), as cosign writes it; may be given again: any will do.",
        ),
    ],
    source: Annotated[
        str | None,
        Option(
            "--source",
            metavar="DIGEST",
            help="Insist that it was cut from this image, as a partition's signature tells.",
        ),
    ] = None,
    recursive: Annotated[
        bool,
        Option("--recursive", "-r", help="Check a signature of each image of an index as well."),
    ] = False,
    recursive_source: Annotated[
        bool,
        Option("--recursive-source", help="Check a signature of the image that a partition was cut from as well."),
    ] = False,
    source_key: Annotated[
        list[Path] | None,
        Option(
            "--source-key",
            help="A key that the source may be signed by; may be given again. Without it, those of --key.",
        ),
    ] = None,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Check that an image or partition is signed, in cosign's format, by a key that you trust.

    The digest is computed here, and the signature over it is checked with the key alone: whatever stands
    between (registry, proxy, network) may refuse or delay an image, but cannot pass off another one. Pull the
    digest that is printed, not the tag, which may have moved since.

    A signature of an index covers its images, since it names their digests; --recursive is for clients that
    pull one of them by its own digest. Who vouches for a partition says from which image it was cut, not that
    this image is good: --recursive-source asks whether that is signed, too.

    Example:
        twodfs verify registry.example.com/model:v1--0.0.1.2 --key proxy.pub
        docker pull $(twodfs verify registry.example.com/model:v1--edge --key p.pub --json | jq -r .pinned)
        twodfs verify registry.example.com/model:v1--edge --key proxy.pub --recursive-source \
            --source-key builders.pub

    The exit status is 0 when the signature is good, 1 when there is none that is, 2 when a key or the command
    line is wrong.
    """
    from twodfs.cli import trust  # noqa: PLC0415 - see the module's docstring

    del quiet  # there is nothing but the result

    asked = trust.Question(
        reference=reference,
        keys=tuple(key),
        source=source,
        recursive=recursive,
        recursive_source=recursive_source,
        source_keys=tuple(source_key or ()),
        security=Security(plain_http, tls, ca_file),
    )
    trust.verify(asked, as_json=as_json)


@program.add
def login(
    registry: _Registry = "",
    *,
    username: Annotated[str, Option("--username", "-u", help="Asked for where left out.")] = "",
    password_stdin: Annotated[bool, Option("--password-stdin", help="Read the password from standard input.")] = False,
    plain_http: _PlainHttp = False,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Try a username and password at a registry and keep them where Docker keeps them.

    That is Docker's config.json, or the credential helper that it names: 'twodfs login' or 'docker login',
    one is as good as the other.

    Example:
        twodfs login registry.example.com --username ann
        cat password | twodfs login registry.example.com --username ann --password-stdin
    """
    from twodfs.cli import existing  # noqa: PLC0415
    from twodfs.cli.console import ask  # noqa: PLC0415
    from twodfs.registry.auth import Credentials  # noqa: PLC0415 - see the module's docstring

    if not password_stdin and not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask on; --password-stdin reads the password from standard input")
    if password_stdin and not username:
        raise UsageError("--password-stdin takes --username as well")
    username = username or ask("Username")
    if password_stdin:
        password = sys.stdin.read(_MAX_PASSWORD).rstrip("\r\n") if sys.stdin else ""
    else:
        password = ask("Password", hidden=True)
    if not username or not password or ":" in username:
        raise UsageError("expected a username without a colon, and a password")
    credentials = Credentials(username, password)
    existing.login(registry, credentials, security=Security(plain_http, tls, ca_file), as_json=as_json, quiet=quiet)


@program.add
def logout(
    registry: _Registry = "",
    *,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Forget the username and password for a registry.

    Example:
        twodfs logout registry.example.com
    """
    from twodfs.cli import existing  # noqa: PLC0415 - see the module's docstring

    existing.logout(registry, as_json=as_json, quiet=quiet)


@program.add
def images(*, as_json: _Json = False, quiet: _Quiet = False) -> None:
    """List the images of the local store.

    Example:
        twodfs images --json
    """
    from twodfs.cli import storage  # noqa: PLC0415 - see the module's docstring

    del quiet  # there is nothing but the result

    storage.images(as_json=as_json)


@program.add
def rm(
    references: Annotated[list[str], Argument("REF...", "Images that were built here.")],
    *,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Forget images of the local store.

    Their allotments stay for the next build, until 'twodfs prune' needs the room.

    Example:
        twodfs rm registry.example.com/model:v1
    """
    from twodfs.cli import storage  # noqa: PLC0415 - see the module's docstring

    storage.remove(references, as_json=as_json, quiet=quiet)


@program.add
def prune(
    *,
    max_size: Annotated[str, Option("--max-size", metavar="SIZE", help="What may stay, as 10GB or 512MiB.")],
    and_images: Annotated[bool, Option("--images", help="Forget images, too, where the rest is not enough.")] = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Remove from the local store what no image needs, longest unused first.

    What an image needs stays, even if that is more than SIZE. Waits for builds and pushes to end.

    Example:
        twodfs prune --max-size 20GB
    """
    from twodfs.cli import storage  # noqa: PLC0415 - see the module's docstring

    storage.prune_store(max_size, images=and_images, as_json=as_json, quiet=quiet)


def _call(work: Callable[[], None]) -> None:
    """Run a command to its end; what can be expected to go wrong becomes one line and an exit status."""
    try:
        work()
    except (UsageError, BuildFileError, InvalidReferenceError, KeyFormatError) as error:
        _fail(str(error), USAGE)
    except TwodfsError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        _end_unheard()
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:  # files that are written are known by their names
            _end_unwritten(error)
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _end_unheard() -> NoReturn:
    """End once nobody reads results any more."""
    _drop_results()
    sys.exit(FAILED)


def _end_unwritten(error: OSError) -> NoReturn:
    _drop_results()
    _fail(f"cannot write standard output: {error.strerror}", FAILED, is_heard=False)


def _drop_results() -> None:
    # At its end the process would try to write them once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(problem: str, status: int, *, is_heard: bool = True) -> NoReturn:
    """Say what is wrong in a line, and to programs as JSON, unless nobody hears results."""
    said = " ".join(problem.split())
    print(f"twodfs: {printable(said)}", file=sys.stderr)
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if is_heard and "--json" in options:
        from twodfs.cli.console import print_json  # noqa: PLC0415 - see the module's docstring

        try:
            print_json({"error": {"message": said, "exitStatus": status}})
            sys.stdout.flush()
        except OSError:  # the line above has said it
            _drop_results()
    sys.exit(status)
