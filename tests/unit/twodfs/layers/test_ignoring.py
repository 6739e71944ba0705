import time

import pytest

from twodfs.errors import FormatError
from twodfs.layers.ignoring import MAX_PATTERNS, Ignoring


def left_out(patterns: list[str], *names: str) -> list[str]:
    rules = Ignoring.parse(patterns)
    return [name for name in names if rules.ignores(name)]


# https://docs.docker.com/build/concepts/context/#dockerignore-files
@pytest.mark.parametrize(
    ("patterns", "names", "expected"),
    [
        (["*.tmp"], ["a.tmp", "d/a.tmp"], ["a.tmp"]),
        (["*/temp*"], ["d/temporary.txt", "d/temp", "temp", "d/e/temp"], ["d/temporary.txt", "d/temp"]),
        (["temp?"], ["tempa", "temp", "tempab"], ["tempa"]),
        (["**/*.go"], ["a.go", "d/a.go", "d/e/a.go", "a.goo"], ["a.go", "d/a.go", "d/e/a.go"]),
        (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b", "a/bb"], ["a/b", "a/x/b", "a/x/y/b"]),
        (["/docs/"], ["docs", "docs/a/b", "x/docs"], ["docs", "docs/a/b"]),
        (["./docs"], ["docs/a"], ["docs/a"]),
        (["*.md", "!README.md"], ["a.md", "README.md"], ["a.md"]),
        (["*.md", "!README*.md", "README-secret.md"], ["README.md", "README-secret.md"], ["README-secret.md"]),
        (["docs", "!docs/keep.md"], ["docs", "docs/a.md", "docs/keep.md"], ["docs", "docs/a.md"]),
        (["*", "!keep/*.bin"], ["a", "keep/x.bin", "keep/x.txt"], ["a", "keep/x.txt"]),
        (["# a comment", "", "  spaced  "], ["# a comment", "spaced"], ["spaced"]),
        (["[ab].bin", "[!ab].txt"], ["a.bin", "c.bin", "a.txt", "c.txt"], ["a.bin", "c.txt"]),
        (["\\#a", "\\!b"], ["#a", "!b"], ["#a", "!b"]),
        (["**"], ["a", "d/e"], ["a", "d/e"]),
        ([], ["a"], []),
    ],
)
def test_patterns_mean_what_they_mean_in_a_dockerignore(
    patterns: list[str], names: list[str], expected: list[str]
) -> None:
    assert left_out(patterns, *names) == expected


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("a/../b", "'a/../b' climbs with '..'; patterns begin at the source"),
        ("!", "'!' matches nothing, or all there is"),
        (".", "'.' matches nothing, or all there is"),
        ("*a*b*c*d*", "a pattern has 1000 characters and 4 places with asterisks at most"),
        ("[z-a]", "'[z-a]' is no pattern: bad character range z-a at position 2"),
    ],
)
def test_what_is_no_pattern_is_said_with_its_place(pattern: str, sentence: str) -> None:
    with pytest.raises(FormatError) as failed:
        Ignoring.parse(["a", pattern])
    assert str(failed.value) == f"{sentence} in 'ignore[1]'"


def test_there_are_not_more_patterns_than_paths_are_held_against() -> None:
    with pytest.raises(FormatError, match=f"more than {MAX_PATTERNS} patterns"):
        Ignoring.parse(["a"] * (MAX_PATTERNS + 1))


def test_the_worst_name_is_soon_told() -> None:
    rules = Ignoring.parse(["*a*a*a*b"])
    begin = time.thread_time()
    assert not rules.ignores("a" * 255)
    assert time.thread_time() - begin < 5
