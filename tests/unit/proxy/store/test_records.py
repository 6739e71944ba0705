"""The formats of records: replicas of two releases share one Redis during an upgrade."""

import hashlib

from proxy.store.records import seal
from tests.lab.records import RECORDS

SEALED = {
    "content": "16a9da891e2fd2cc05cca2a9d7b2eb47c79ff2217d38853e50d2a925fd7c2b5a",
    "field": "ebba3b603560cb3dfc92cd9b70c924cf8ccb11687024913292da699e1b504cca",
    "size": "d47059f0e60be262501a979aa6d8ab485902dbab9862cfdc79bf6b1c325c404b",
    "recipe": "5d2323fe3beecf8bb3c0636458d877ae3012901342bead14534cd8fc2321cde3",
    "partition": "2e63e8b517dc413bad78f670fecff2d773a4923c5a975f2942bd3fcb4d85b3fb",
    "names": "e2dca7ec6a72a4ece6e26fd9e6b7d3f446d510a2878aa700d345ba2fefbef4a3",
    "subject": "9aad741f52353bc5a50baa5f8ae45c2389c97b547f2a062c6b354d98e589cccf",
    "signature": "a348bea9a2013832ca3045a29027d379875e33ccb354a1fb8b6f1dffed642a1b",
}
"""SHA-256 of what earlier releases seal with the secret "secret": a seal is over the name, too."""


def test_records_are_named_and_sealed_as_ever() -> None:
    now = {str(key): hashlib.sha256(seal(key, record, b"secret")).hexdigest() for key, record in RECORDS.items()}
    assert {name.partition(":")[0]: sealed for name, sealed in now.items()} == SEALED
