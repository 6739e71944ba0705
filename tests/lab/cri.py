"""The Kubernetes interface of container runtimes (CRI), as much of it as pulls an image: gRPC over curl's HTTP/2."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from tests.lab import command
from tests.lab.programs import environment, program

_METHOD: Final = "http://localhost/runtime.v1.ImageService/PullImage"
_HEADERS: Final = ("--header", "Content-Type: application/grpc", "--header", "TE: trailers")
_STATUS: Final = re.compile(r"^grpc-status: (\d+)", re.MULTILINE | re.IGNORECASE)
_MESSAGE: Final = re.compile(r"^grpc-message: (.*?)\r?$", re.MULTILINE | re.IGNORECASE)


class CriError(Exception):
    """The runtime did not pull; carries what it said."""


def cri_pull(socket: Path, reference: str, login: tuple[str, str] | None, directory: Path, *, of: str = "") -> None:
    """Ask the runtime behind a socket to pull an image; raises CriError.

    Args:
        socket: the runtime's.
        reference: of the image.
        login: user and password, as a kubelet has them of an imagePullSecret.
        directory: for files of the call.
        of: the address of the registry that the login is for; empty: unsaid.
    """
    message = _field(1, _field(1, reference.encode()))  # PullImageRequest.image.image
    if login is not None:
        user, password = login
        fields = _field(1, user.encode()) + _field(2, password.encode())  # AuthConfig.username, .password
        message += _field(2, fields + (_field(4, of.encode()) if of else b""))  # .auth, .auth.server_address
    asked, head = (directory / f"{uuid.uuid4().hex}.{kind}" for kind in ("grpc", "head"))
    asked.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    argv = (program("curl"), "--silent", "--http2-prior-knowledge", "--unix-socket", str(socket), *_HEADERS)
    files = ("--data-binary", f"@{asked}", "--dump-header", str(head), "--output", "/dev/null")
    command.run((*argv, *files, _METHOD), environment())
    answered = head.read_text()
    status = _STATUS.findall(answered)
    if status != ["0"]:
        raise CriError(unquote(" ".join(_MESSAGE.findall(answered))) or answered)


def _field(number: int, content: bytes) -> bytes:
    """Encode a field of protocol buffers that has a length (wire type 2)."""
    return bytes([number << 3 | 2, *_varint(len(content))]) + content


def _varint(number: int) -> Iterator[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
