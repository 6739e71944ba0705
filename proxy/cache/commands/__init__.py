"""The commands of ``twodfs-proxy cache``, a module for each; none is imported before it is asked for.

ls        content and images, listed
verify    content, read and hashed
prune     content, removed
stats     how much there is
pin       images that stay
unpin     and that may go again
export    images into an archive
take_in   images out of one: ``import``
"""

from __future__ import annotations

from typing import Final

from twodfs.cli.program import Command, Group

_SUMMARIES: Final = {
    "ls": "List the content of an edge directory, or the images and how much of each is there.",
    "verify": "Read all content and compare it with its digests.",
    "prune": "Remove content, that used least recently first.",
    "stats": "Say how much there is, how much room is left, and how old it is.",
    "pin": "Let images or partitions stay, whatever else is pulled.",
    "unpin": "Let pinned images or partitions go when room is needed.",
    "export": "Write images or partitions into an OCI archive, to be carried to another node.",
    "import": "Put the images of an archive into an edge directory.",
}
_MODULES: Final = {"import": "take_in"}
_TEXT: Final = """Look after the content of an edge node: list, verify, prune, pin, and carry it elsewhere.

Each command works on the node's directory, beside the running node or without one; it asks neither the node nor the \
registry. Images are named as they are pulled, REPOSITORY:TAG or REPOSITORY:TAG--PARTITION; a registry in front of it \
does not matter.

Example:
    twodfs-proxy cache ls --edge /var/lib/twodfs --images
    twodfs-proxy cache pin --edge /var/lib/twodfs library/model:v1--0.0.1.2
    twodfs-proxy cache verify --config /etc/twodfs-proxy.toml --repair

Exit status:
    0    it worked
    1    it failed, or 'verify' found something rotten
    2    wrong command line or configuration
    130  it was interrupted
"""

CACHE: Final = Group(
    _TEXT,
    {name: Command(f"{__name__}.{_MODULES.get(name, name)}", text) for name, text in _SUMMARIES.items()},
)
