"""The commands of ``twodfs``, a module for each; none is imported before it is asked for.

    build     an image from a base and files
    schema    the keys of the build file
    push      an image to its registry
    copy      an image or a partition from registry to registry
    tag       one more name for an image
    export    an image or a partition into an archive
    inspect   the field of an image
    diff      two images, compared
    show      text with which programs run an image
    anchor    allotments made known to their registry
    doctor    allotments that a registry lacks or may lose
    verify    signatures
    login     credentials, tried and kept
    logout    credentials, forgotten
    images    the local store, listed
    rm        images of the local store, forgotten
    prune     the local store, made smaller

To add one: a module with a docstring, ``declare`` and ``run``, as ``twodfs.cli.program`` says, a line above and a
row below, whose summary is the first paragraph of the docstring.
"""

from __future__ import annotations

from typing import Final

from twodfs.cli.program import Command

_SUMMARIES: Final = {
    "build": "Build an image from BASE and a build file into the local store.",
    "schema": "Print the JSON Schema of the build file, for editors that complete and check it.",
    "push": "Push an image of the local store to its registry.",
    "copy": "Copy an image or a partition from registry to registry.",
    "tag": "Give an image one more name: in the local store, or in its registry.",
    "export": "Write an image or a partition of it into an archive, without a proxy.",
    "inspect": "Show the field of an image: the size of each allotment, media types and named partitions.",
    "diff": "Say which cells of two images differ, and how many bytes an update from OLD to NEW moves.",
    "show": "Write what runs an image or mounts its files: commands, Compose, Kubernetes, a Containerfile.",
    "anchor": "Make the allotments of an image known to its registry, so that it keeps them.",
    "doctor": "Say which allotments of an image the registry lacks, or may lose.",
    "verify": "Check that an image or partition is signed, in cosign's format, by a key that you trust.",
    "login": "Try a username and password at a registry and keep them where Docker keeps them.",
    "logout": "Forget the username and password for a registry.",
    "images": "List the images of the local store.",
    "rm": "Forget images of the local store.",
    "prune": "Remove from the local store what no image needs, longest unused first.",
}

COMMANDS: Final = {name: Command(f"{__name__}.{name}", summary) for name, summary in _SUMMARIES.items()}
