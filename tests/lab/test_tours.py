"""A page that says something else than its commands do is found out."""

from pathlib import Path

import pytest

from tests.lab.tours import Step, Walked, steps, walk

PAGE = """\
# Title

```
cat > greet <<'END'
# no heading
echo $1
END
```

```yaml
not: run
```

## Greetings

```
$ bash greet \\
    one
  one
$ bash greet two
```
"""


def test_steps_are_commands_and_blocks_without_prompts() -> None:
    assert list(steps(PAGE)) == [
        Step("Title", "cat > greet <<'END'\n# no heading\necho $1\nEND\n"),
        Step("Greetings", "bash greet \\\n    one", "  one\n"),
        Step("Greetings", "bash greet two"),
    ]


def test_a_tour_is_gone_in_one_shell_with_places_of_its_own(tmp_path: Path) -> None:
    tour = [*steps(PAGE), Step("", "printf $MORE; (exit 3)", "x…"), Step("", "false", "false")]
    walked = walk(tour, tmp_path, places={"one": "1"}, variables={"MORE": "xyz"}, before=lambda one: f"# {one.section}")
    assert [(one.printed, one.status) for one in walked] == [("", 0), ("1\n", 0), ("two\n", 0), ("xyz", 3), ("", 1)]
    assert [one.is_as_shown for one in walked if one.step.shown] == [True, True, False]


@pytest.mark.parametrize(
    ("shown", "printed", "is_as_shown"),
    [
        ("a b", "a\n  b\n", True),
        ("a b", "a b c", False),
        ("a.b", "axb", False),
        ("… b", "b", True),
        ("… b", "a a b", True),
        ("… b", "a a bb", False),
        ("a …", "a", True),
        ("a … c", "a b b c", True),
        ("sha256:… 3", "sha256:12 3", True),
        ("sha256:… 3", "sha256:12 2 3", False),
        ("a", "", False),
    ],
)
def test_an_ellipsis_alone_is_any_words(shown: str, printed: str, *, is_as_shown: bool) -> None:
    assert Walked(Step("", "", shown), 0, printed).is_as_shown == is_as_shown
