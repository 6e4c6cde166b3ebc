"""C10: wherever somebody may name an address, nothing of this machine or its network is ever called."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pytest_django import Settings
from werkzeug import Request, Response
from werkzeug.serving import make_server

from connectors.registry import connector
from connectors.sdk.client import Access, FixedToken
from connectors.sdk.egress import Egress, Resolver, is_public, resolve
from connectors.sdk.errors import ConfigurationError, ConnectorError, OutcomeUnknown, TransientError, UnexpectedResponse
from connectors.sdk.exchange import http_client
from connectors.sdk.oauth import ConnectorKeys
from marketplace.installations.registrations import http_for
from tests.faults.hostile_urls import FORBIDDEN_V4, SHOPS, known_here, urls
from tests.faults.names import name_server
from tests.installations.conftest import QuietHandler

pytestmark = pytest.mark.faults

Address = tuple[str, int]

DECLARED = "api.provider.example"
PUBLIC = "93.184.215.14"
STATUSES = (301, 302, 303, 307, 308)
KEYS = ConnectorKeys(client_id="id", client_secret="secret")
#: How a request may end that was never sent.
REFUSALS = (ConnectorError, httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
UNREACHABLE = (*REFUSALS, httpx.ConnectError, httpx.ConnectTimeout)


class Listener:
    """Waits on every address of this machine; a connection that was made stays in its backlog and counts."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def hits(self) -> int:
        """How many connections came since the last time."""
        count = 0
        while True:
            try:
                self.socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


class Redirecting:
    """Answers `/<status>/<number>` with that status, leading to that target."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.targets: list[str] = []

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        self.asked.append(request.path)
        status, _, number = request.path.strip("/").partition("/")
        return Response("{}", int(status), {"Location": self.targets[int(number)]})(environ, start_response)


@pytest.fixture
def listener() -> Iterator[Listener]:
    one = Listener()
    yield one
    one.socket.close()


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """Which addresses were connected to. Those of other machines refuse: tests call nobody."""
    addresses: list[Address] = []
    connect = socket.create_connection

    def dial(address: Address, *rest: Any, **named: Any) -> socket.socket:
        addresses.append(address)
        if not is_loopback(address[0]):
            raise ConnectionRefusedError(address[0])
        return connect(address, *rest, **named)

    monkeypatch.setattr(socket, "create_connection", dial)
    return addresses


def client_for_origins(*origins: str, resolve: Resolver = resolve) -> httpx.Client:
    """The product's HTTP client of a connector whose author declared these origins."""
    manifest = replace(
        connector("stripe").manifest, hosts={"api": {"production": f"https://{DECLARED}"}}, also_calls=origins
    )
    return http_client(2.0, Egress(manifest, resolve=resolve))


def send(http: httpx.Client, url: str, allowed: tuple[type[Exception], ...] = REFUSALS) -> None:
    with pytest.raises(allowed):
        http.post(url, content=b"secret", headers={"Authorization": "Bearer secret"})


def test_urls_beside_the_declared_hosts_reach_nobody(listener: Listener, dialled: list[Address], tell: Any) -> None:
    """A few of them are odd ways of writing a declared host: then it is that host, at its port, which is called."""
    looked_up: list[str] = []

    def look_up(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return [PUBLIC]

    tried = urls(DECLARED, listener.port)
    with client_for_origins("https://*.myshopify.com", resolve=look_up) as http:
        for url in [*tried, f"https://{DECLARED}/", "https://shop.myshopify.com/"]:
            send(http, url, UNREACHABLE)
    assert set(looked_up) == {DECLARED, "shop.myshopify.com"}
    assert set(dialled) == {(PUBLIC, 443)}
    assert len(dialled) < 15
    assert listener.hits() == 0
    assert len(tried) >= 500
    tell("C10", "URLs beside the declared hosts", tried=len(tried), malformed=len(tried))


def test_forbidden_addresses_are_not_reached_even_when_an_author_declares_them(listener: Listener, tell: Any) -> None:
    tried = [f"https://{host}:{listener.port}" for host in known_here()]
    would_hit = sum(hits_without_a_guard(listener, url) for url in tried)
    assert would_hit > 30, "the listener hears nobody"
    with client_for_origins(*tried) as http:
        for url in tried:
            send(http, url, UNREACHABLE)
            assert listener.hits() == 0, url
    tell("C10", "forbidden addresses that were declared", tried=len(tried), events=would_hit)


def hits_without_a_guard(listener: Listener, url: str) -> int:
    """Whether the same host leads here when nobody looks at what it is."""
    try:
        host = httpx.URL(url).host
        is_here = any(is_loopback(address) for address in resolve(host, listener.port))
        if is_here:
            socket.create_connection((host, listener.port), timeout=1).close()
    except (OSError, httpx.InvalidURL):
        return 0
    return listener.hits()


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def test_name_that_changes_its_address_is_connected_to_as_it_was_seen(
    listener: Listener, dialled: list[Address], tell: Any
) -> None:
    """Rebinding: public when asked first, this machine when asked again."""
    changing = {f"r{number}.{DECLARED}": [[PUBLIC], [address]] for number, address in enumerate(FORBIDDEN_V4)}
    mixed = {f"m{number}.{DECLARED}": [[PUBLIC, address]] for number, address in enumerate(FORBIDDEN_V4)}
    reached = {f"s.{DECLARED}": [[PUBLIC], ["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]]}
    with name_server({**changing, **mixed, **reached}) as names:
        origins = [f"https://{name}:{listener.port}" for name in names.answers]
        with client_for_origins(*origins, resolve=names.resolve) as http:
            for number, origin in enumerate(origins, start=1):
                send(http, origin, UNREACHABLE)
                assert names.asked.total() == number, "a name is resolved once for a connection"
            assert dialled == [(PUBLIC, listener.port)] * (len(changing) + len(reached))
            for origin in origins:
                send(http, origin, UNREACHABLE)
    assert set(dialled) == {(PUBLIC, listener.port)}
    assert listener.hits() == 0
    tell("C10", "names that change their address", tried=2 * len(origins))


@pytest.fixture
def redirecting(settings: Settings, listener: Listener) -> Iterator[Redirecting]:
    """The one address on this machine that is allowed, sending everybody on: to itself, to others, and round in circles."""
    one = Redirecting()
    server = make_server("127.0.0.1", 0, one, request_handler=QuietHandler)
    one.url = f"http://127.0.0.1:{server.server_port}"
    one.targets = [f"{one.url}/302/0", "//localhost/", "/200/0"]
    one.targets += [
        f"http://{host}:{listener.port}/" for host in ("127.0.0.1", "2130706433", "[::1]", "localhost", "0")
    ]
    settings.SIMULATORS = {**settings.SIMULATORS, "stripe": one.url}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


def test_redirects_are_answers_that_nobody_follows(redirecting: Redirecting, listener: Listener, tell: Any) -> None:
    access = Access(token=FixedToken("secret"), environment="simulator", simulator=redirecting.url)
    client = connector("stripe").client(access, http_for("stripe"))
    paths = [f"/{status}/{number}" for status in STATUSES for number in range(len(redirecting.targets))]
    for path in paths:
        with pytest.raises(UnexpectedResponse):
            client.request("GET", "api", path)
        with pytest.raises(OutcomeUnknown):
            client.request("POST", "api", path, is_write=True)
    assert redirecting.asked == [path for path in paths for _ in range(2)]
    assert listener.hits() == 0
    tell("C10", "redirects", tried=len(redirecting.asked))


def test_file_a_provider_refers_to_is_fetched_from_its_own_hosts_only(listener: Listener, tell: Any) -> None:
    access = Access(token=FixedToken("secret"), organisation_id="shop.myshopify.com", sleep=lambda seconds: None)
    client: Any = connector("shopify").client(access)
    tried = [f"https://{host}:{listener.port}/file.jsonl" for host in known_here()]
    for url in tried:
        with pytest.raises((UnexpectedResponse, TransientError, httpx.InvalidURL)):
            list(client.download(url))
    client.http.close()
    assert listener.hits() == 0
    tell("C10", "files a provider refers to", tried=len(tried))


@pytest.mark.parametrize("shop", SHOPS)
def test_address_of_a_shop_is_the_name_of_a_shop(shop: str) -> None:
    found = connector("shopify")
    oauth = found.oauth(found.manifest, KEYS, environment="production", settings={"shop": shop}, http=httpx.Client())
    with pytest.raises(ConfigurationError):
        oauth.url(found.manifest.auth.token)
    oauth.http.close()


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
)
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)
