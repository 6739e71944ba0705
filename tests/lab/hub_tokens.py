"""A program: Docker Hub's token server, as far as a network of the lab has one.

`python -m tests.lab.hub_tokens DIRECTORY CERTIFICATE KEY` serves `https://auth.docker.io/token` on 127.0.0.1:443.
"""

import signal
import sys
from pathlib import Path
from typing import Final

from tests.lab.certificates import Pair
from tests.lab.token_server import token_server

ORIGIN: Final = "https://auth.docker.io"


def main(directory: str, certificate: str, key: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with token_server(Path(directory), origin=ORIGIN, port=443, tls=Pair(Path(certificate), Path(key))):
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(*sys.argv[1:])
