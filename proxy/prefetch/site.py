"""The file that lists what a site needs, declaratively.

::

rate = "10Mbit"            # of the line, for all of it together; left out: no cap
window = "22:00-06:00"     # in the node's local time; left out: at once

[[image]]
reference = "library/model:v1--0.0.1.2"
pin = true                              # it stays, whatever else is pulled; left out: false
platforms = ["linux/arm64"]             # left out: all

[[image]]
reference = "library/base:v3"
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from proxy.prefetch.order import Order, OrderError, OrderKeys, rate_in, wanted_in, window_in
from twodfs.files import read_file


def read_site(file: Path) -> Order:
    """Return what the file at ``file`` lists.

    Raises:
        OrderError: it cannot be read, or is not as it must be; the message names file and key.
    """
    try:
        content = tomllib.loads(read_file(file, may_be_pipe=True).decode())
    except OSError as error:
        raise OrderError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OrderError(f"{file} is not TOML: {error}") from None
    try:
        given = OrderKeys(content, "", ("image", "rate", "window"))
        return Order(wanted_in(given, "image"), rate_in(given, "rate"), window_in(given, "window"))
    except OrderError as error:
        raise OrderError(f"{file}: {error}") from None
