import pytest

from twodfs.errors import BuildFileError
from twodfs.oci.platforms import Platform, parse_platforms


@pytest.mark.parametrize(
    ("offered", "wanted", "is_match"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm", "linux/arm/v6", False),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "linux/amd64/v1", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/riscv64", "linux/riscv64/v8", False),
        ("windows/arm64", "linux/arm64", False),
    ],
)
def test_an_architecture_without_a_variant_is_its_default(offered: str, wanted: str, *, is_match: bool) -> None:
    assert Platform.parse(offered).matches(Platform.parse(wanted)) is is_match


def test_several_platforms_may_stand_between_commas() -> None:
    found = parse_platforms(["linux/amd64, linux/arm64/v8", "linux/arm/v7", "linux/amd64"])
    assert [str(one) for one in found] == ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"]
    with pytest.raises(BuildFileError, match="'' is no platform"):
        parse_platforms(["linux/amd64,"])
