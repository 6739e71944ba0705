from proxy.cache.images.parts import PartKind
from proxy.cache.images.reference import CachedName
from proxy.cache.inventory import CachedBlob
from proxy.cache.pruning import FRESH, Pruning, chosen
from twodfs.oci.digest import Digest, digest_of

NOW = 1_800_000_000.0


def blob(name: bytes, age: float, *, size: int = 10, is_pinned: bool = False, image: str = "") -> CachedBlob:
    names = (CachedName.parse(image),) if image else ()
    return CachedBlob(digest_of(name), size, PartKind.LAYER, NOW - age, is_pinned, names)


OLD, OLDER, PINNED, NAMED = blob(b"a", 1000), blob(b"b", 2000), blob(b"c", 9000, is_pinned=True), blob(b"d", 8000)
FRESH_ONE, USED = blob(b"e", FRESH - 1), blob(b"f", 5000, image="a:b")
ALL = (OLD, OLDER, PINNED, NAMED, FRESH_ONE, USED)


def go(pruning: Pruning, *named: Digest) -> list[CachedBlob]:
    return chosen(ALL, pruning, named=set(named), now=NOW)


def test_the_longest_unused_goes_first_and_what_is_pinned_stays() -> None:
    assert go(Pruning(to=0)) == [NAMED, USED, OLDER, OLD, FRESH_ONE]
    assert go(Pruning(to=45)) == [NAMED, USED]
    assert go(Pruning(to=60)) == []


def test_an_age_is_a_bound() -> None:
    assert go(Pruning(older_than=1500)) == [NAMED, USED, OLDER]
    assert go(Pruning(older_than=1500, to=55)) == [NAMED]


def test_what_something_names_or_has_just_come_is_not_unused() -> None:
    assert go(Pruning(unused=True), NAMED.digest) == [OLDER, OLD]
    assert go(Pruning(unused=True, older_than=1500), NAMED.digest) == [OLDER]
