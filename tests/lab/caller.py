"""A user of a registry who meets its challenges as engines do: Bearer with a token, Basic with the login."""

import http.client
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from tests.lab.documents import DOCKER, OCI
from tests.lab.images import PushedImage
from tests.lab.registry_client import Answer, RegistryClient, basic

ACCEPT = f"{OCI.index}, {OCI.manifest}, {DOCKER.index}, {DOCKER.manifest}"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Caller:
    url: str
    login: tuple[str, str] | None = None
    realms: list[str] = field(default_factory=list)
    """Where tokens were fetched."""

    def read(self, target: str, method: str = "GET", **headers: str) -> Answer:
        """Ask once without credentials and, where that is refused, once as the challenge says."""
        answer = self.ask(target, method, **headers)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status != http.client.UNAUTHORIZED:
            return answer
        authorization = self.authorization(challenge)
        return self.ask(target, method, authorization, **headers) if authorization else answer

    def ask(self, target: str, method: str = "GET", authorization: str | None = None, **headers: str) -> Answer:
        given = {"Accept": ACCEPT, **headers} | ({"Authorization": authorization} if authorization else {})
        with RegistryClient(self.url) as client:
            return client.request(method, target, headers=given)

    def authorization(self, challenge: str) -> str | None:
        if challenge.startswith("Bearer "):
            parameters = dict(_PARAMETER.findall(challenge))
            scope = parameters.get("scope", "")
            return f"Bearer {self.token(parameters['realm'], parameters['service'], scope)}"
        return basic(*self.login) if self.login and challenge.startswith("Basic ") else None

    def token(self, realm: str, service: str, scope: str) -> str:
        """Fetch a token ("Token Authentication Specification")."""
        self.realms.append(realm)
        place = urlsplit(realm)
        query = urlencode([("service", service), *[("scope", one) for one in scope.split()]])
        with RegistryClient(f"{place.scheme}://{place.netloc}", self.login) as client:
            answer = client.request("GET", f"{place.path}?{query}")
        assert answer.status == http.client.OK, answer.body
        token: str = json.loads(answer.body)["token"]
        return token


@dataclass(frozen=True)
class Partition:
    """Every address under which a partition of an image can be read."""

    targets: tuple[str, ...]

    @classmethod
    def read(cls, caller: Caller, image: PushedImage, tag: str) -> "Partition":
        """Read a whole partition, and so fill all caches on the way."""
        base = f"/v2/{image.repository}"
        top = caller.read(f"{base}/manifests/{tag}")
        assert top.status == http.client.OK, top.body
        pinned = f"{base}/manifests/{top.headers['docker-content-digest']}"
        child = f"{base}/manifests/{json.loads(top.body)['manifests'][0]['digest']}"
        manifest = caller.read(child)
        assert manifest.status == http.client.OK, manifest.body
        config = f"{base}/blobs/{json.loads(manifest.body)['config']['digest']}"
        assert caller.read(config).status == http.client.OK
        return cls((f"{base}/manifests/{tag}", pinned, child, config))

    def statuses(self, caller: Caller) -> set[int]:
        return {caller.read(target, method).status for target in self.targets for method in ("GET", "HEAD")}
