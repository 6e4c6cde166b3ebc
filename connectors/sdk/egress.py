"""The one way out: to the origins a manifest declares, at public addresses, and nowhere else.

A name is resolved once for each connection, every address it has must be a public one, and the connection goes to one of exactly these:
a name that answers differently the second time gains nothing. Proxies of the environment are not used, and a redirect is an answer
like any other, which nobody follows.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from urllib.parse import urlsplit

import httpcore
import httpx

from connectors.sdk.errors import UnexpectedResponse
from connectors.sdk.exchange import BoundedNetwork
from connectors.sdk.manifest import Manifest

Resolver = Callable[[str, int], Sequence[str]]
SocketOptions = Iterable[tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]]

KEPT_ALIVE, KEPT_ALIVE_SECONDS = 8, 5.0
DEFAULT_PORTS = {"https": 443, "http": 80}
#: Whatever is not listed in the address registries as reachable from everywhere, and metadata services beside that.
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # without every form that carries an IPv4 address in other prefixes
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def is_public(address: str) -> bool:
    """Whether an address belongs to the open internet: not to this machine, its network, or a way of writing either of them."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _NOT_PUBLIC_V4)
    return found in _GLOBAL_UNICAST and not any(found in network for network in _NOT_PUBLIC_V6)


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, by this machine's resolver. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


@cache
def _authorities() -> ssl.SSLContext:
    """Whom we trust, read once in a process."""
    return httpx.create_ssl_context()


class Egress(httpx.HTTPTransport):
    """Refuses with `UnexpectedResponse` before a byte is sent. `simulator` names the one origin, if any, that the settings of this
    server let stand in for the provider; it may be on this machine."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        simulator: Callable[[], str] = str,
        resolve: Resolver = resolve,
    ) -> None:
        verify = _authorities()
        super().__init__(verify=verify, trust_env=False)
        self._name = manifest.name
        self._origins = frozenset(map(origin_of, manifest.origins()))
        self._simulator = simulator
        self._pool = httpcore.ConnectionPool(
            ssl_context=verify,
            max_connections=None,
            max_keepalive_connections=KEPT_ALIVE,
            keepalive_expiry=KEPT_ALIVE_SECONDS,
            network_backend=BoundedNetwork(_PublicNetwork(self, resolve)),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.check(request.url)
        return super().handle_request(request)

    def check(self, url: httpx.URL) -> None:
        """Raises `UnexpectedResponse` for what is not declared: a URL may come from an answer, such as that of a file to fetch."""
        port = url.port or DEFAULT_PORTS.get(url.scheme, 0)
        if self.is_simulator(url.host, port) or self._is_declared(url.scheme, url.host, port):
            return
        raise self._refused(f"{url.scheme}://{url.host}:{port} is not declared")

    def _is_declared(self, scheme: str, host: str, port: int) -> bool:
        name, dot, rest = host.partition(".")
        return (scheme, host, port) in self._origins or bool(
            name and dot and (scheme, f"*.{rest}", port) in self._origins
        )

    def is_simulator(self, host: str, port: int) -> bool:
        allowed = self._simulator()
        return bool(allowed) and origin_of(allowed)[1:] == (host, port)

    def refuse_private(self, host: str, addresses: Sequence[str]) -> None:
        """One address that is not public is one too many: which of them is used may be chosen by somebody else."""
        private = [address for address in addresses if not is_public(address)]
        if private:
            raise self._refused(f"{host} is {', '.join(private[:3])}")

    def _refused(self, detail: str) -> UnexpectedResponse:
        return UnexpectedResponse(
            f"{self._name} led to an address that is not its own; nothing was sent.", detail=detail
        )


class _PublicNetwork(httpcore.SyncBackend):
    """Connects to addresses that were looked at, never to a name that would be resolved again."""

    def __init__(self, egress: Egress, resolve: Resolver) -> None:
        self._egress = egress
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: SocketOptions | None = None,
    ) -> httpcore.NetworkStream:
        if self._egress.is_simulator(host, port):
            return super().connect_tcp(host, port, timeout, local_address, socket_options)
        addresses = self._addresses(host, port)
        self._egress.refuse_private(host, addresses)
        return self._first_that_answers(addresses, port, timeout, socket_options)

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from error
        if not found:
            raise httpcore.ConnectError(f"{host} has no address")
        return found

    def _first_that_answers(
        self, addresses: Sequence[str], port: int, timeout: float | None, socket_options: SocketOptions | None
    ) -> httpcore.NetworkStream:
        *others, last = addresses
        for address in others:
            try:
                return super().connect_tcp(address, port, timeout, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(last, port, timeout, None, socket_options)


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a base URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
