"""The Kubernetes interface of container runtimes (CRI), as much of it as a pod takes: gRPC over curl's HTTP/2.

Messages are made of `_field` and `_number` by the numbers in Kubernetes' `api.proto`.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote

from tests.lab import command
from tests.lab.programs import environment, program

_HEADERS: Final = ("--header", "Content-Type: application/grpc", "--header", "TE: trailers")
_STATUS: Final = re.compile(r"^grpc-status: (\d+)", re.MULTILINE | re.IGNORECASE)
_MESSAGE: Final = re.compile(r"^grpc-message: (.*?)\r?$", re.MULTILINE | re.IGNORECASE)
_NODE: Final = 2
"""NamespaceMode.NODE: the machine's own."""


class CriError(Exception):
    """The runtime did not do it; carries what it said."""


@dataclass(frozen=True, slots=True)
class ImageMount:
    """An image volume in a container: what was pulled, and where it is mounted."""

    image: str
    place: str


class Pod:
    """A pod that runs; a context manager that removes it."""

    def __init__(self, call: Callable[[str, bytes], str], sandbox: str, config: bytes) -> None:
        self._call = call
        self._sandbox = sandbox
        self._config = config

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            self._call(f"RuntimeService/{method}", _field(1, self._sandbox))

    def start(self, image: str, argv: Sequence[str], mounts: Sequence[ImageMount] = ()) -> str:
        """Start a container of a pulled image with a command of its own; returns what the runtime calls it."""
        container = _field(1, _field(1, uuid.uuid4().hex)) + _field(2, _field(1, image))
        container += b"".join(_field(3, word) for word in argv)
        for one in mounts:
            mount = _field(1, one.place) + _number(3, 1) + _field(9, _field(1, one.image))
            container += _field(7, mount)
        asked = _field(1, self._sandbox) + _field(2, container) + _field(3, self._config)
        made = self._call("RuntimeService/CreateContainer", asked)
        self._call("RuntimeService/StartContainer", _field(1, made))
        return made

    def execute(self, container: str, *argv: str) -> str:
        """Run a command in a container; returns its standard output."""
        words = b"".join(_field(2, word) for word in argv)
        return self._call("RuntimeService/ExecSync", _field(1, container) + words + _number(3, 30))


class Cri:
    """A runtime behind a socket."""

    def __init__(self, socket: Path, directory: Path) -> None:
        """`directory` is for files of the calls."""
        self._socket = socket
        self._directory = directory

    def pull(self, reference: str, login: tuple[str, str] | None = None, *, of: str = "") -> str:
        """Pull an image and return what the runtime calls it; raises CriError.

        Args:
            reference: of the image.
            login: user and password, as a kubelet has them of an imagePullSecret.
            of: the address of the registry that the login is for; empty: unsaid.
        """
        message = _field(1, _field(1, reference))  # PullImageRequest.image.image
        if login is not None:
            user, password = login
            fields = _field(1, user) + _field(2, password)  # AuthConfig.username, .password
            message += _field(2, fields + (_field(4, of) if of else b""))  # .auth, .auth.server_address
        return self._call("ImageService/PullImage", message)

    def run_pod(self, name: str) -> Pod:
        """Start a pod in the machine's own network; raises CriError."""
        unique = uuid.uuid4().hex
        metadata = _field(1, name) + _field(2, unique) + _field(3, "lab")
        namespaces = _number(1, _NODE) + _number(2, 1) + _number(3, _NODE)
        config = _field(1, metadata) + _field(8, _field(1, "/lab") + _field(2, _field(1, namespaces)))
        return Pod(self._call, self._call("RuntimeService/RunPodSandbox", _field(1, config)), config)

    def _call(self, method: str, message: bytes) -> str:
        """Return the first text of the answer; raises CriError."""
        asked, head, told = (self._directory / f"{uuid.uuid4().hex}.{kind}" for kind in ("grpc", "head", "answer"))
        asked.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        argv = (program("curl"), "--silent", "--http2-prior-knowledge", "--unix-socket", str(self._socket), *_HEADERS)
        files = ("--data-binary", f"@{asked}", "--dump-header", str(head), "--output", str(told))
        command.run((*argv, *files, f"http://localhost/runtime.v1.{method}"), environment())
        answered = head.read_text()
        status = _STATUS.findall(answered)
        if status != ["0"]:
            raise CriError(unquote(" ".join(_MESSAGE.findall(answered))) or answered)
        return _first_text(told.read_bytes()[5:] if told.exists() else b"")


def _first_text(message: bytes) -> str:
    """Return the first field of a message where that has a length; empty without."""
    if not message or message[0] != (1 << 3 | 2):
        return ""
    length, at, shift = 0, 1, 0
    while True:
        length |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 0x80:
            return message[at : at + length].decode()


def _field(number: int, content: bytes | str) -> bytes:
    """Encode a field of protocol buffers that has a length (wire type 2)."""
    encoded = content.encode() if isinstance(content, str) else content
    return bytes([*_varint(number << 3 | 2), *_varint(len(encoded))]) + encoded


def _number(number: int, value: int) -> bytes:
    """Encode a number (wire type 0)."""
    return bytes([*_varint(number << 3), *_varint(value)])


def _varint(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
