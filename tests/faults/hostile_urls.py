"""Addresses nobody may be led to, in every way of writing them that a parser, a resolver or a socket may understand."""

from __future__ import annotations

import ipaddress

#: This machine, its network, metadata services, and ranges that belong to nobody.
FORBIDDEN_V4 = (
    *("127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "100.127.255.254", "168.63.129.16"),
    *("192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
)
FORBIDDEN_V6 = (
    *("::1", "::", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "fe80::1", "febf::1", "fec0::1"),
    *("fc00::1", "fd00:ec2::254", "fd12:3456:789a::1", "ff01::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1"),
    *("2001::1", "2001:10::1", "2001:20::1", "100::1", "5f00::1", "64:ff9b::1", "64:ff9b:1::1", "2002::1"),
)
NAMES = ("localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


def hosts() -> list[str]:
    """Each as it stands in a URL."""
    found = [form for address in FORBIDDEN_V4 for form in _forms(address)]
    found += [f"[{address}]" for address in FORBIDDEN_V6] + [f"[{address.upper()}]" for address in FORBIDDEN_V6]
    return list(dict.fromkeys([*found, *NAMES]))


def known_here() -> list[str]:
    """Those that lead somewhere without asking a name server of the network."""
    return [host for host in hosts() if not host.endswith(".") and (host not in NAMES or host.lower() == "localhost")]


def _forms(address: str) -> list[str]:
    first, second, third, fourth = map(int, address.split("."))
    whole = int(ipaddress.IPv4Address(address))
    high, low = f"{whole >> 16:x}", f"{whole & 0xFFFF:x}"
    numbers = [
        address,
        f"{address}.",
        str(whole),
        hex(whole),
        f"0X{whole:08X}",
        f"0{whole:o}",
        ".".join(f"0{part:o}" for part in (first, second, third, fourth)),
        ".".join(f"000{part:03o}" for part in (first, second, third, fourth)),
        ".".join(hex(part) for part in (first, second, third, fourth)),
        f"{first}.{whole & 0xFFFFFF}",
        f"{first}.{second}.{whole & 0xFFFF}",
        f"0x{first:x}.0{second:o}.{third}.0x{fourth:x}",
    ]
    carried = [
        f"::ffff:{address}",
        f"::ffff:{high}:{low}",
        f"::ffff:0:{address}",
        f"::{address}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}::1",
        f"fe80::5efe:{address}",
        f"fec0::{address}",
    ]
    return [*numbers, *(f"[{form}]" for form in carried)]


def urls(declared: str, port: int) -> list[str]:
    """Whole URLs that lead, or might lead, somewhere else than to the declared host."""
    here = f"127.0.0.1:{port}"
    tricks = [
        *(
            f"https://{declared}{between}{here}/"
            for between in ("@", ":443@", "%40", "%2f@", "\\@", "/@", "#@", "?@", ";@")
        ),
        *(f"https://{here}{between}{declared}/" for between in ("#", "?", "/", "\\", "#@", "%23", "%00", ";", "&")),
        *(f"https://user:{declared}@{host}:{port}/" for host in ("127.0.0.1", "[::1]", "localhost", "0")),
        *(
            f"{scheme}://{here}/"
            for scheme in ("http", "HTTP", "ftp", "gopher", "file", "unix", "ws", "dict", "ldap", "")
        ),
        *(f"{scheme}://{declared}/" for scheme in ("http", "ftp", "ws", "file", "javascript", "data")),
        *(f"https://{declared}:{other}/" for other in (22, 25, 80, 5432, 6379, 8101, port)),
        *(
            f"https://{dots}:{port}/"
            for dots in ("127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "１２７.0.0.1", "①②⑦.⓪.⓪.①")
        ),
        *(
            f"https://{name}:{port}/"
            for name in ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "lo\u00adcalhost", "%6c%6f%63alhost", "%31%32%37.0.0.1", "localh\u043est")
        ),
        *(f"https://{name}/" for name in (f"{declared}.evil.test", f"evil-{declared}", f"{declared}.", f".{declared}")),
        *(
            f"https://{name}/"
            for name in (f"x.{declared}", f"evil.test.{declared}", declared.replace(".", "-"), "evil.test")
        ),
        *(
            f"//{here}/",
            f"https:{here}",
            f"https:/{here}/",
            f"https:///{here}/",
            f"\thttps://{here}/",
            f"https://{here}\n/",
        ),
        *(
            f" https://{here}/",
            f"https://\t{here}/",
            f"https://{here} /",
            here,
            "",
            "/etc/passwd",
            "file:///etc/passwd",
        ),
        *(f"https://{here[:4]}\n{here[4:]}/", f"https://[::1%25lo]:{port}/", f"https://[::ffff:7f00:1%lo]:{port}/"),
        *(f"https://{first}.myshopify.com.evil.test/" for first in ("shop", "127.0.0.1")),
        *(f"https://{name}/" for name in ("a.b.myshopify.com", ".myshopify.com", "myshopify.com", "xmyshopify.com")),
    ]
    return [*tricks, *(f"https://{host}:{port}/" for host in hosts())]


#: What somebody might type as the address of a shop.
SHOPS = (
    *("127.0.0.1", "localhost", "[::1]", "2130706433", "evil.test", "myshopify.com", ".myshopify.com"),
    *("evil.test/.myshopify.com", "evil.test#.myshopify.com", "evil.test?.myshopify.com", "evil.test\\.myshopify.com"),
    *(
        "127.0.0.1:80#.myshopify.com",
        "a@evil.test/.myshopify.com",
        "shop.myshopify.com@evil.test",
        "shop.myshopify.com:22",
    ),
    *(
        "shop.myshopify.com.evil.test",
        "shop.myshopify.com/",
        "shop.myshopify.com#",
        "shop.myshopify.com?x",
        "a.b.myshopify.com",
    ),
    *("shop.myshopify.com\n", "shop.myshopify.com\r\nHost: evil.test", " shop.myshopify.com", "shop%2emyshopify.com"),
    *(
        "shop。myshopify。com",
        "ѕhop.myshopify.com",
        "-shop.myshopify.com",
        "{organisation}.myshopify.com",
        "shop_x.myshopify.com",
    ),
    *(
        "https://shop.myshopify.com",
        "//shop.myshopify.com",
        "shop..myshopify.com",
        "shopmyshopify.com",
        "shop.myshopifyXcom",
    ),
)
