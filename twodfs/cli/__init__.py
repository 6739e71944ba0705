"""The ``twodfs`` command: build, push and inspect 2DFS images.

Results go to standard output, progress and errors to standard error. The exit status is 0 when it worked,
1 when it failed, 2 when the command line or the build file is wrong, 130 when it was interrupted.

    console     bars and lines on standard error
    commands    what each command does
    (this)      arguments and their help

``commands`` and asyncio are imported when one runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer

from twodfs import __version__
from twodfs.build.choices import DEFAULT_NAME, Anchor
from twodfs.build.compression import Compression, Packing
from twodfs.errors import InvalidReferenceError, RecipeError, TwodfsError

T = TypeVar("T")

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_HELP = """Put big files into a container image as a field: rows and columns of small, independent layers.

A proxy in front of the registry cuts any rectangle out of it: pulling [bold]model:v1--0.0.1.2[/bold] \
gives the base with rows 0 to 1, columns 0 to 2.

[bold]Example[/bold]

twodfs build docker.io/library/busybox registry.example.com/model:v1 --push

twodfs inspect registry.example.com/model:v1
"""

app = typer.Typer(
    name="twodfs",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

_PlainHttp = Annotated[
    bool,
    typer.Option("--plain-http", help="Speak HTTP without TLS. A registry on this machine needs no asking."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def main() -> None:
    """Run the command line."""
    # Loading makes many objects and no garbage: collecting it took a tenth of the time of a short command.
    gc.set_threshold(100_000, 10, 10)
    app()


def _print_version(asked: bool) -> None:  # noqa: FBT001 - how typer calls it
    if asked:
        typer.echo(f"twodfs {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command()
def build(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The image to put the field on, or [bold]scratch[/bold].")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="What the new image is called.")],
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="The build file.")] = Path(DEFAULT_NAME),
    platform: Annotated[
        list[str] | None,
        typer.Option(
            help="Which image of BASE, as linux/arm64; may be given again. All where it is left out; "
            "linux/amd64 for scratch."
        ),
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the image once it is built.")] = False,
    plain_http: _PlainHttp = False,
    anchor: Annotated[
        Anchor,
        typer.Option(
            help="[bold]index[/bold]: an entry of the index keeps the allotments alive in the registry; "
            "a BASE that is a single manifest becomes an index. [bold]none[/bold]: BASE's form stays."
        ),
    ] = Anchor.INDEX,
    compression: Annotated[
        Compression,
        typer.Option(
            help="Of the allotments. [bold]auto[/bold] takes a sample of each: gzip where it saves a fifth, "
            "else none, as for weights."
        ),
    ] = Compression.AUTO,
    level: Annotated[
        int | None, typer.Option(help="Of gzip, 1 to 9 (default 1), or of zstd, 1 to 22 (default 3).")
    ] = None,
    compat: Annotated[
        bool,
        typer.Option("--compat", help="Write gzip and the field as the original registry wants them."),
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option(
            "--checksum", help="Go by what files hold, not by their times; hash what the store has."
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Allotments written at a time; as many as processors by default."),
    ] = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Build an image from BASE and a build file into the local store.

    The build file says which files make up the allotment of each row and column:

    {"allotments": [{"src": "./a.bin", "dst": "/models/a.bin", "row": 0, "col": 0}]}

    [bold]Example[/bold]

    twodfs build docker.io/library/busybox registry.example.com/model:v1 --push

    The same files on the same BASE give the same bytes. The store is ~/.cache/twodfs or $TWODFS_STORE.
    Attestations of BASE are left out: they vouch for other digests than the new image's.
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    asked = commands.Build(
        base=base,
        target=target,
        file=file,
        platforms=tuple(platform or ()),
        push=push,
        plain_http=plain_http,
        anchor=anchor,
        packing=Packing(compression, level, gzip_only=compat),
        checksum=checksum,
        jobs=jobs or min(os.cpu_count() or 1, 64),
    )
    _run(commands.build(asked, as_json=as_json, quiet=quiet))


@app.command()
def push(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An image that was built here.")],
    *,
    plain_http: _PlainHttp = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
) -> None:
    """Push an image of the local store to its registry.

    Only what the registry lacks travels. Credentials are those of 'docker login'.

    [bold]Example[/bold]

    twodfs push registry.example.com/model:v1
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    _run(commands.push(target, plain_http=plain_http, as_json=as_json, quiet=quiet))


@app.command()
def inspect(
    reference: Annotated[str, typer.Argument(metavar="REF", help="An image, built here or in a registry.")],
    *,
    plain_http: _PlainHttp = False,
    as_json: _Json = False,
) -> None:
    """Show the field of an image: rows, columns, and the size of each allotment.

    The local store is looked into first, then the registry.

    [bold]Example[/bold]

    twodfs inspect registry.example.com/model:v1
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    _run(commands.inspect(reference, plain_http=plain_http, as_json=as_json))


@app.command()
def images(*, as_json: _Json = False) -> None:
    """List the images of the local store.

    [bold]Example[/bold]

    twodfs images --json
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    _call(lambda: commands.images(as_json=as_json))


@app.command()
def rm(
    references: Annotated[list[str], typer.Argument(metavar="REF...", help="Images that were built here.")],
    *,
    as_json: _Json = False,
) -> None:
    """Forget images of the local store.

    Their allotments stay for the next build, until 'twodfs prune' needs the room.

    [bold]Example[/bold]

    twodfs rm registry.example.com/model:v1
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    _call(lambda: commands.remove(references, as_json=as_json))


@app.command()
def prune(
    *,
    max_size: Annotated[
        str, typer.Option("--max-size", metavar="SIZE", help="What may stay, as 10GB or 512MiB.")
    ],
    and_images: Annotated[
        bool, typer.Option("--images", help="Forget images, too, where the rest is not enough.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Remove from the local store what no image needs, longest unused first.

    What an image needs stays, even if that is more than SIZE. Waits for builds and pushes to end.

    [bold]Example[/bold]

    twodfs prune --max-size 20GB
    """
    from twodfs.cli import commands  # noqa: PLC0415 - see the module's docstring

    _call(lambda: commands.prune_store(max_size, images=and_images, as_json=as_json))


def _run(work: Coroutine[Any, Any, None]) -> None:
    import asyncio  # noqa: PLC0415 - see the module's docstring

    _call(lambda: asyncio.run(work))


def _call(work: Callable[[], None]) -> None:
    """Run a command to its end; what can be expected to go wrong becomes one line and an exit status."""
    try:
        work()
    except (RecipeError, InvalidReferenceError) as error:
        _fail(str(error), USAGE)
    except TwodfsError as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _fail(problem: str, status: int) -> NoReturn:
    typer.echo(f"twodfs: {' '.join(problem.split())}", err=True)
    raise typer.Exit(status)
