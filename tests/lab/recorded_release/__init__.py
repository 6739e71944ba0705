"""The release before this one, as it was recorded: what it answered, kept, counted, logged and accepted.

    content         what is in the registry, and the keys
    service         requests to a proxy, and all that can be seen of it
    settings        configurations that use every setting
    command_lines   command lines that use every option of both programs
    record          writes `tests/fixtures/previous-release` with a checkout of that release

Every scene is played by `python -m proxy` and `python -m twodfs` alone, so that it can be played by any release.
"""
