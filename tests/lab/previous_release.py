"""The proxy as the release before: it writes the bytes of flattening version 1, and knows no other."""

from twodfs.flatten import cut as flatten

# Before anything of the proxy reads it.
flatten.FLATTEN_VERSION = 1  # type: ignore[misc]

from proxy.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
