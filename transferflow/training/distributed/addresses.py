"""Addresses of the nodes of a training: which of them is this machine's, and through what it is reached."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from transferflow.errors import PlanError

_SIOCGIFADDR = 0x8915
"""Linux: the address of a network interface."""
_ELSEWHERE = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)
"""An address can't be listened at, as it is another machine's, or as somebody listens there already."""


@dataclass(frozen=True)
class Address:
    """Where nodes meet.

    Attributes:
        host: A name or an address.
        port: From 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Place:
    """One node among those that train together, for one attempt; the only one as it stands.

    Attributes:
        number: From 0, which is the node that owns the run.
        count: How many there are.
        endpoint: `HOST:PORT` of the owner, at which the agents of this attempt find each other.
        address: Of this machine, by which the others reach it.
    """

    number: int = 0
    count: int = 1
    endpoint: str = ""
    address: str = ""


ONLY = Place()


def parse_address(text: str) -> Address:
    """`HOST:PORT`, where an IPv6 address stands in brackets.

    Raises:
        ValueError: If it is none.
    """
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT, such as gpu-1:29500")
    return Address(host, int(port))


def listen_at(address: Address) -> socket.socket | None:
    """Listen at an address; `None` if it is another machine's, or another process listens there.

    A machine's own name often means its loopback address to itself: then all of its addresses are listened
    on, as the others know another one by that name.

    Raises:
        PlanError: If there is no such name, or this user may not listen there.
    """
    for family, kind, where in _resolve(address):
        is_inside = ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback
        at = ("", *where[1:]) if is_inside and not _says_loopback(address.host) else where
        listening = socket.socket(family, kind)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(at)
            listening.listen()
        except OSError as error:
            listening.close()
            if error.errno in _ELSEWHERE:
                continue
            raise PlanError("can't listen there", where="--rdzv", found=f"{address}: {error}") from None
        return listening
    return None


def _says_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _resolve(address: Address) -> Sequence[tuple[int, int, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise PlanError(
            "no such host",
            where="--rdzv",
            found=f"{address}: {error.strerror}",
            hint="give the name or address of one of the machines, the same on all of them",
        ) from None
    return [(family, kind, where) for family, kind, _, _, where in found]


def can_connect(address: Address) -> bool:
    """Whether somebody listens at an address."""
    try:
        socket.create_connection((address.host, address.port), timeout=5.0).close()
    except OSError:
        return False
    return True


def own_address_towards(host: str, port: int) -> str:
    """The address of this machine by which another one reaches it; nothing is sent."""
    family, kind, number, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, number) as asking:
        asking.connect(where)
        return str(asking.getsockname()[0])


def free_port(address: str) -> int:
    """A port of this machine that nobody listens at now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as asking:
        asking.bind((address, 0))
        return int(asking.getsockname()[1])


def interface_of(address: str) -> str | None:
    """The network interface that has an IPv4 address; `None` where that is not to be found out."""
    try:
        from fcntl import ioctl  # Windows has none

        wanted = socket.inet_aton(address)
    except (ImportError, OSError):
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has no such address
                if ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))[20:24] == wanted:
                    return name
    return None
