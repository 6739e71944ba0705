"""The proxy as a release to come: it writes other bytes for the same source, under the next version."""

from twodfs import flatten

# Before anything of the proxy reads it.
flatten.FLATTEN_VERSION = 2  # type: ignore[misc]
flatten.SELECTION_ANNOTATION = "2dfs.selection.next"  # type: ignore[misc]

from proxy.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
