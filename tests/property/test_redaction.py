"""What is logged of foreign text: no secret in it is left, and the look takes time with its length."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.logs import redacted
from tests.lab.work import grows_with_its_input
from tests.property.strategies import pieces

SECRET = "S3cr3tValue"
NAMES = ["token", "_state", "password", "secret", "client_secret", "code", "sig", "signature", "account"]
NAMES += [
    "access_token",
    "identity-token",
    "my.key",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "x-goog-signature",
]
PIECES = (
    *("?", "&", ";", "=", "@", "/", "//", "://", " ", "\t", '"', "'", "<", ">", "%", "-", ".", "_", ":"),
    *("token", "key", "bearer ", "Basic ", "http://", "/v2/", "a", "x-amz-", "sig", "Bearer", "account="),
)
AROUND = pieces(*PIECES)


@given(
    AROUND,
    st.sampled_from("?&;"),
    st.sampled_from(NAMES),
    st.sampled_from([" ", "&x=1", '"', "'", "<", ">", ";", ""]),
    AROUND,
)
def test_no_parameter_that_proves_something_is_left(before: str, joint: str, name: str, end: str, after: str) -> None:
    assert SECRET not in redacted(f"{before}{joint}{name}={SECRET}{end}{after}")
    assert SECRET not in redacted(f"{before}{joint}{name.upper()}={SECRET}{end}{after}")


# Without the characters that also end a parameter's value: behind one of these, in front of a password,
# the address begins within the parameter (docs/fuzzing.md, "Left").
USERS = st.text(alphabet="user:%40-._~!$()*+,=é", max_size=12)


@given(AROUND, USERS, AROUND)
def test_no_user_info_of_an_address_is_left(before: str, user: str, after: str) -> None:
    assert SECRET not in redacted(f"{before}https://{user}{SECRET}@registry.example/{after}")


@given(
    AROUND,
    st.sampled_from(["Bearer", "Basic", "bearer", "BASIC"]),
    st.sampled_from([" ", "  ", "\t"]),
    AROUND,
)
def test_no_credentials_of_a_header_are_left(before: str, scheme: str, space: str, after: str) -> None:
    assert SECRET not in redacted(f"{before} {scheme}{space}{SECRET} {after}")


def test_a_scheme_behind_a_scheme_is_no_credential() -> None:
    assert redacted(f"basic  Bearer {SECRET} x") == "basic  Bearer *** x"


@given(AROUND)
def test_what_was_redacted_is_not_longer_than_stars_make_it_and_stays_so(text: str) -> None:
    once = redacted(text)
    assert len(once) <= 3 * len(text) + 3
    assert redacted(once) == once


@given(AROUND, AROUND, AROUND)
@settings(max_examples=60, deadline=None)
def test_redaction_takes_time_with_the_length_of_the_text(prefix: str, pump: str, suffix: str) -> None:
    def redact(many: int) -> Callable[[], object]:
        text = prefix + (pump or "token") * (many // max(1, len(pump))) + suffix
        return lambda: redacted(text)

    assert grows_with_its_input(redact, 4096)
