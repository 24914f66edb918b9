"""Multicast DNS by hand: a question, an answer, and what stands in one. RFC 1035 §4; RFC 6762."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

GROUP: Final = ("224.0.0.251", 5353)
A, PTR, TXT, AAAA, SRV, ANY = 1, 12, 16, 28, 33, 255


@dataclass
class Answer:
    """The records of one packet, by name; names are text with a final stop."""

    pointers: dict[str, list[str]] = field(default_factory=dict)
    services: dict[str, tuple[int, str]] = field(default_factory=dict)  # port, host
    addresses: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)


def encode_name(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(name: str, kind: int = PTR) -> bytes:
    return struct.pack("!6H", 0, 0, 1, 0, 0, 0) + encode_name(name) + struct.pack("!2H", kind, 1)


def record(name: bytes, kind: int, data: bytes, *, ttl: int = 120) -> bytes:
    return name + struct.pack("!2HIH", kind, 1, ttl, len(data)) + data


def answer(*records: bytes, count: int | None = None) -> bytes:
    said = len(records) if count is None else count
    return struct.pack("!6H", 0, 0x8400, 0, said, 0, 0) + b"".join(records)


def instance(service: str, label: str, port: int, address: str) -> Sequence[bytes]:
    """The records of one announced instance."""
    name, host = encode_name(f"{label}.{service}"), encode_name(f"{label}.local.")
    return (
        record(encode_name(service), PTR, name),
        record(name, SRV, struct.pack("!3H", 0, 0, port) + host),
        record(name, TXT, b"\0"),
        record(host, A, socket.inet_aton(address)),
    )


def parse(packet: bytes) -> Answer:
    """Read an answer; raises whatever Python raises where it is none."""
    _, flags, questions, *counts = struct.unpack_from("!6H", packet)
    assert flags & 0x8000, "no answer"
    found, at = Answer(), 12
    for _ in range(questions):
        _, at = _name(packet, at)
        at += 4
    for _ in range(sum(counts)):
        name, at = _name(packet, at)
        kind, _, _, length = struct.unpack_from("!2HIH", packet, at)
        start, at = at + 10, at + 10 + length
        if kind == PTR:
            found.pointers.setdefault(name, []).append(_name(packet, start)[0])
        elif kind == SRV:
            (port,) = struct.unpack_from("!H", packet, start + 4)
            found.services[name] = (port, _name(packet, start + 6)[0])
        elif kind in (A, AAAA):
            family = socket.AF_INET if kind == A else socket.AF_INET6
            text = socket.inet_ntop(family, packet[start:at])
            found.addresses.setdefault(name, []).append(text)
        elif kind == TXT:
            found.texts[name] = packet[start:at]
    assert at == len(packet)
    return found


def _name(packet: bytes, at: int) -> tuple[str, int]:
    labels, end, hops = [], None, 0
    while length := packet[at]:
        if length & 0xC0:
            end = at + 2 if end is None else end
            at, hops = struct.unpack_from("!H", packet, at)[0] & 0x3FFF, hops + 1
            assert hops < 32
            continue
        labels.append(packet[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join([*labels, ""]), at + 1 if end is None else end


def group_socket(address: str) -> socket.socket:
    """A socket that speaks to the group from *address*, at the port of multicast DNS."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.setsockopt(
        socket.IPPROTO_IP,
        socket.IP_ADD_MEMBERSHIP,
        socket.inet_aton(GROUP[0]) + socket.inet_aton(address),
    )
    sock.bind(("", GROUP[1]))
    sock.setblocking(False)
    return sock


def asking_socket(address: str) -> socket.socket:
    """A socket of any port, to which a responder answers by unicast (RFC 6762 §6.7)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock
