"""``python -m twodfs``."""

from twodfs.cli import main

main()
