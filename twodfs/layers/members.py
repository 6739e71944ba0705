"""The members of a layer: each file, directory and link that copies bring; looked at, not read.

Members are sorted, owned by root, dated 1970-01-01 and readable by all, unless the build file says otherwise;
only the content, the names and whether a file is executable come from the disk (image-spec, layer.md).

The directories that lead to a destination are the base image's, which may have a link or other permissions
there; they are not written, and engines make missing ones.
"""

from __future__ import annotations

import os
import stat
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from twodfs.errors import BuildError, FormatError
from twodfs.files import Stamp
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.content import MadeContent
from twodfs.layers.destinations import WHITEOUT, check_length
from twodfs.layers.ignoring import UNASKED, ignoring
from twodfs.layers.patterns import find_matches, parents_of
from twodfs.links import is_followed

_KINDS: Final = {stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE}
_WORDS: Final = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}
_EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a layer's tar.

    Attributes:
        name: without slashes at either end.
        kind: of tarfile's types: a regular file, a directory or a symbolic link.
        size: bytes of a regular file's content, otherwise 0.
        mode: permission bits.
        uid: the owner.
        gid: the owner's group.
        link: the target of a symbolic link, to the letter; otherwise empty.
        stamp: of a file or link, as it was looked at; None for a directory, which is its members.
        source: the path that is read; None for a parent directory that no copy brings itself.
        content: of a file that is made; None where ``source`` is read.
        path: where the build file asks for it.
        is_written: whether the layer has an entry for it; not for a directory that is only on the way.
    """

    name: str
    kind: bytes = tarfile.DIRTYPE
    size: int = 0
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    link: str = ""
    stamp: Stamp | None = None
    source: Path | None = None
    content: MadeContent | None = None
    path: str = ""
    is_written: bool = True

    @property
    def is_directory(self) -> bool:
        """Whether others may bring it as well."""
        return self.kind == tarfile.DIRTYPE

    def is_unchanged(self, since: Member) -> bool:
        """Say whether it has not changed since it was looked at."""
        if self == since or self.stamp is None or since.stamp is None:
            return self == since
        return self.stamp.is_unchanged(since.stamp) and replace(self, stamp=since.stamp) == since


def find_members(copies: Iterable[Copy]) -> tuple[Member, ...]:
    """Return the members that ``copies`` bring, sorted, parents before children.

    Raises:
        BuildError: a file cannot be read.
        FormatError: two copies want one name, a pattern matches nothing, or a file is of a kind that no layer
            holds; with the path in the build file.
    """
    members: dict[str, Member] = {}
    for copy in copies:
        for member in _members_of(copy):
            other = members.setdefault(member.name, member)
            if other is not member and not (other.is_directory and member.is_directory):
                raise _clash(other, member)
            if not other.is_written:
                members[member.name] = member
    for member in list(members.values()):
        for parent in parents_of(member.name):
            implied = Member(parent, path=member.path, is_written=False)
            if not (other := members.setdefault(parent, implied)).is_directory:
                raise _clash(other, implied)
    return tuple(sorted(members.values(), key=lambda one: one.name.encode("utf-8", "surrogateescape")))


class PathClaims:
    """Which allotment brings which name: the format wants them apart, so that any of them fit together.

    For any thread.
    """

    def __init__(self, directories: Mapping[str, str] | None = None) -> None:
        """Begin with nothing taken but the ``directories`` of every base; see ``keep_directories``."""
        self._directories = directories or {}
        self._taken: dict[str, tuple[bytes, str]] = {}
        self._changing = threading.Lock()

    def keep_directories(self, directories: Mapping[str, str]) -> None:
        """Let nothing else take the names of a base's ``directories``; with a phrase for each that says why.

        Raises:
            FormatError: an allotment has taken one already.
        """
        with self._changing:
            self._directories = directories
            for name, (kind, path) in self._taken.items():
                self._check(name, kind, path)

    def claim(self, members: Iterable[Member]) -> None:
        """Give ``members`` to an allotment; directories are everybody's.

        Raises:
            FormatError: another has one of them; both are named. Or a directory of the base has.
        """
        with self._changing:
            for member in members:
                self._check(member.name, member.kind, member.path)
                mine = (member.kind, member.path)
                kind, path = taken = self._taken.setdefault(member.name, mine)
                if taken is not mine and not kind == member.kind == tarfile.DIRTYPE:
                    raise _clash(Member(member.name, kind, path=path), member)

    def _check(self, name: str, kind: bytes, path: str) -> None:
        if kind != tarfile.DIRTYPE and (what := self._directories.get(name)):
            raise FormatError(
                f"'/{name}' is {what}, and a {_WORDS[kind]} would take its place; "
                f"write '/{name}/' to put it into the directory",
                path,
            )


def _clash(first: Member, second: Member) -> FormatError:
    """Return the mistake where two copies bring the same name, in one allotment or in two."""
    if first.is_directory == second.is_directory:
        return FormatError(f"'/{first.name}' comes twice: first in '{first.path}', then", second.path)
    one, other = _WORDS[first.kind], _WORDS[second.kind]
    return FormatError(f"'/{first.name}' is a {one} in '{first.path}', but a {other}", second.path)


def _members_of(copy: Copy) -> Iterator[Member]:
    if copy.is_made:
        yield _made(copy)
        return
    # Not Path.exists, which raises where a name is too long.
    if not copy.pattern or os.path.exists(copy.source / copy.pattern):  # noqa: PTH110
        yield from _walk(copy, copy.pattern, copy.target)
        return
    found = find_matches(copy.source, copy.pattern)
    if not found:
        raise FormatError(f"no file matches {str(copy.source / copy.pattern)!r}", copy.path)
    is_empty = True
    for name in found:
        for member in _walk_below(copy, name, _joined(copy.target, name)):
            is_empty = False
            yield member
    if is_empty:
        raise FormatError(f"all that matches {str(copy.source / copy.pattern)!r} is left out by 'ignore'", copy.path)


def _walk(copy: Copy, name: str, target: str) -> Iterator[Member]:
    """Yield the source ``name`` below that of ``copy``, or all that it holds; nothing leaves out the source itself."""
    source = copy.source / name
    # The source itself may be a link, as model hubs' caches have them; of those below it see ``links``.
    member = _member(copy, source, target, follow=True)
    if not member.is_directory:
        if copy.into:
            target = _joined(target, source.name)
            member = _member(copy, source, target, follow=True)
        if not target:
            raise FormatError(f"{source} is a file, so its destination needs a name", copy.path)
        yield member
        return
    below = [one for child in _children(copy, name) for one in _walk_below(copy, child, _joined(target, _last(child)))]
    if target:
        # Like the directories above it, the destination is the base's, unless the build file says how it is.
        is_described = (copy.mode, copy.uid, copy.gid) != (None, 0, 0)
        yield replace(member, is_written=is_described or not below)
    yield from below


def _walk_below(copy: Copy, name: str, target: str) -> Iterator[Member]:
    rules = None if copy.ignore is None else ignoring(copy.ignore)
    is_left_out = rules is not None and rules.ignores(name)
    if rules and is_left_out and not rules.takes_back:
        return
    source = copy.source / name
    member = _member(copy, source, target, follow=False)
    if not is_left_out:
        is_link = member.kind == tarfile.SYMTYPE
        if is_link and is_followed(source, copy.source, follow=copy.follow, path=copy.path):
            member = _member(copy, source, target, follow=True)
        yield member
    if member.is_directory:
        for child in _children(copy, name):
            yield from _walk_below(copy, child, f"{target}/{_last(child)}")


def _children(copy: Copy, name: str) -> list[str]:
    """Return the paths below the source of ``copy`` of what the directory ``name`` holds."""
    directory = copy.source / name
    try:
        found = os.listdir(directory)  # noqa: PTH208 - names are what is asked for
    except OSError as error:
        raise BuildError(f"cannot read {directory}: {error.strerror}, in '{copy.path}'") from None
    return [_joined(name, one) for one in found if copy.ignore is not None or one not in UNASKED]


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _made(copy: Copy) -> Member:
    kind = tarfile.REGTYPE if copy.content else tarfile.SYMTYPE
    if copy.content:
        copy.content.check()
    return Member(
        name=copy.target,
        kind=kind,
        size=copy.content.size if copy.content else 0,
        mode=_mode(copy, kind, 0),
        uid=copy.uid,
        gid=copy.gid,
        link=copy.link,
        content=copy.content,
        path=copy.path,
    )


def _member(copy: Copy, source: Path, target: str, *, follow: bool) -> Member:
    if target.rpartition("/")[2].startswith(WHITEOUT):
        raise FormatError(f"{source}: names that begin with {WHITEOUT!r} delete files in a layer", copy.path)
    check_length(target, copy.path)
    try:
        status = source.stat(follow_symlinks=follow)
        # Not Path.readlink, which tidies up.
        link = os.readlink(source) if stat.S_ISLNK(status.st_mode) else ""  # noqa: PTH115
    except OSError as error:
        raise BuildError(f"cannot read {source}: {error.strerror}, in '{copy.path}'") from None
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise FormatError(f"{source} is neither a file, a directory nor a link", copy.path)
    return Member(
        name=target,
        kind=kind,
        size=status.st_size if kind == tarfile.REGTYPE else 0,
        mode=_mode(copy, kind, status.st_mode),
        uid=copy.uid,
        gid=copy.gid,
        link=link,
        stamp=None if kind == tarfile.DIRTYPE else Stamp.of(status),
        source=source,
        path=copy.path,
    )


def _mode(copy: Copy, kind: bytes, on_disk: int) -> int:
    if kind == tarfile.SYMTYPE:
        return 0o777
    if kind == tarfile.DIRTYPE:
        # A user who may read a file may look into its directory.
        return 0o755 if copy.mode is None else copy.mode | (copy.mode & 0o444) >> 2
    if copy.mode is not None:
        return copy.mode
    return 0o755 if on_disk & _EXECUTABLE else 0o644
