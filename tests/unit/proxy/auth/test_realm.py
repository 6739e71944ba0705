import pytest

from proxy.auth.realm import RealmError, RealmPolicy, Realms

HUB = RealmPolicy(("https://registry-1.docker.io",), ("auth.docker.io",))


@pytest.mark.parametrize(
    ("policy", "realm"),
    [
        (HUB, "https://auth.docker.io/token"),
        (HUB, "https://registry-1.docker.io/token?a=b"),
        (RealmPolicy(("http://127.0.0.1:5000",), ("127.0.0.1:5001",)), "http://127.0.0.1:5001/token"),
        (RealmPolicy(("http://127.0.0.1:5000",), ("[::1]:5001",)), "http://[::1]:5001/token"),
        (RealmPolicy(("http://registry:5000",), ("auth.example.org",)), "https://AUTH.example.org/token"),
        (RealmPolicy(("https://harbor.example.org",), ()), "https://harbor.example.org/service/token"),
    ],
)
def test_the_registrys_own_and_listed_realms_are_trusted(policy: RealmPolicy, realm: str) -> None:
    assert policy.check(realm).path in ("/token", "/service/token")


@pytest.mark.parametrize(
    ("realm", "said"),
    [
        ("https://evil.example.org/token", 'list "evil.example.org:443" in auth.realm_hosts'),
        ("https://auth.docker.io:8443/token", "auth.docker.io:8443 is not the registry's own"),
        ("https://registry-1.docker.io:8443/token", "is not the registry's own host and port"),
        ("http://auth.docker.io/token", "from https to a token server without TLS"),
        ("http://registry-1.docker.io/token", "without TLS"),
        ("https://auth.docker.io@evil.example.org/token", "no http"),
        ("https://auth.docker.io.evil.example.org/token", "is not the registry's own"),
        ("https://169.254.169.254/latest", "169.254.169.254:443 is not"),
        ("file:///etc/passwd", "no http"),
        ("//auth.docker.io/token", "no http"),
        ("/token", "no http"),
        ("https://[::1/token", "no http"),
        ("", "no http"),
    ],
)
def test_credentials_go_to_no_other_realm(realm: str, said: str) -> None:
    with pytest.raises(RealmError, match="token server") as refused:
        HUB.check(realm)
    assert said in str(refused.value)


def test_only_the_realm_of_a_challenge_becomes_ours() -> None:
    realms = Realms(HUB)
    header = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull"'
    ours = realms.as_ours(header, "https://proxy.example.org")
    assert ours == header.replace("https://auth.docker.io/token", "https://proxy.example.org/twodfs/token")
    assert str(realms.known()) == "https://auth.docker.io/token"


@pytest.mark.parametrize(
    "header",
    ['Basic realm="lab"', 'Bearer realm="https://evil.example.org/token",service="x"', "Negotiate", ""],
)
def test_other_challenges_stay_as_they_are(header: str) -> None:
    realms = Realms(HUB)
    assert realms.as_ours(header, "https://proxy.example.org") == header
    assert realms.known() is None


def test_the_token_server_may_be_at_any_origin() -> None:
    policy = RealmPolicy(("http://a:5000", "http://b:5001"), ())
    assert str(policy.check("http://b:5001/token")) == "http://b:5001/token"
    with pytest.raises(RealmError):
        policy.check("http://b:5000/token")
