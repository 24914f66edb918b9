"""ASN.1 read as far as it goes: for people who look at a broken file, never for deciding anything.

The programs' own reader (:mod:`brski.pki.der`) refuses a file whole. This one keeps what it has
seen, takes BER too, and notes what is wrong with its offset. It is bounded in depth and elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from brski_lab.inspecting.description import Finding, Stop

MOST_DEPTH: Final = 24
MOST_NODES: Final = 20_000

_CONSTRUCTED: Final = 0x20
_HIGH_TAG: Final = 0x1F
_INDEFINITE: Final = 0x80
_MOST_LENGTH_OCTETS: Final = 8
_MOST_TAG_OCTETS: Final = 6
_SECTION: Final = "X.690 §10.1"


@dataclass(slots=True)
class Node:
    """One element; offsets count from the first octet of the data."""

    data: bytes = field(repr=False)
    tag: int  # the identifier's first octet
    start: int
    content: int
    end: int
    children: list[Node] = field(default_factory=list)

    @property
    def octets(self) -> bytes:
        """The whole element, header included."""
        return self.data[self.start : self.end]

    @property
    def value(self) -> bytes:
        """The content octets."""
        return self.data[self.content : self.end]

    def child(self, place: int, tag: int | None = None) -> Node | None:
        """The child at *place*, if there is one and it has *tag*."""
        if place >= len(self.children):
            return None
        found = self.children[place]
        return found if tag in (None, found.tag) else None

    def fields(self) -> Fields:
        """The children, to be taken in order."""
        return Fields(self.children)


class Fields:
    """Children taken in order by their tags; what is missing is None."""

    __slots__ = ("_left",)

    def __init__(self, children: list[Node]) -> None:
        self._left = children[::-1]

    def take(self, *tags: int) -> Node | None:
        """The next child if it has one of *tags* (any, where none are given)."""
        if self._left and (not tags or self._left[-1].tag in tags):
            return self._left.pop()
        return None

    def rest(self) -> Iterator[Node]:
        """Those that were not taken."""
        while self._left:
            yield self._left.pop()


@dataclass(slots=True)
class Outline:
    """All elements of some data, and what is wrong with their encoding."""

    nodes: list[Node]
    stop: Stop | None
    findings: tuple[Finding, ...]

    @property
    def root(self) -> Node | None:
        """The first element."""
        return self.nodes[0] if self.nodes else None


def outline(data: bytes) -> Outline:
    """Read *data* as far as it goes; never raises."""
    reader = _Reader(data)
    nodes, _ = reader.read(0, len(data), MOST_DEPTH, indefinite=False)
    return Outline(nodes=nodes, stop=reader.stop, findings=tuple(reader.findings.values()))


class _Reader:
    __slots__ = ("_data", "_left", "findings", "stop")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MOST_NODES
        self.stop: Stop | None = None
        self.findings: dict[str, Finding] = {}  # each kind of fault once, at its first place

    def read(self, at: int, stop: int, depth: int, *, indefinite: bool) -> tuple[list[Node], int]:
        """The elements from *at* on; where they end."""
        nodes: list[Node] = []
        while at < stop and self.stop is None:
            if indefinite and self._data[at : at + 2] == b"\0\0":
                return nodes, at + 2
            node = self._node(at, stop, depth)
            if node is None:
                break
            nodes.append(node)
            at = node.end
        return nodes, at

    def _node(self, start: int, stop: int, depth: int) -> Node | None:
        if not self._left:
            self._halt(start, f"more than {MOST_NODES} elements")
            return None
        self._left -= 1
        head = self._head(start, stop)
        if head is None:
            self._halt(start, "it ends within the header of an element")
            return None
        content, length = head
        node = Node(self._data, self._data[start], start, content, stop)
        if length is not None:
            if length > stop - content:
                self._halt(
                    start,
                    f"the element {node.tag:02x} says {length} octets, {stop - content} are left",
                )
            node.end = min(content + length, stop)
        self._read_children(node, stop, depth, indefinite=length is None)
        return node

    def _read_children(self, node: Node, stop: int, depth: int, *, indefinite: bool) -> None:
        if indefinite:
            self._note("indefinite length, which is BER and not DER", node.start)
        elif not node.tag & _CONSTRUCTED:
            return
        if not depth:
            self._halt(node.start, f"elements inside one another more than {MOST_DEPTH} deep")
            return
        halted, self.stop = self.stop, None  # what was cut short is read as far as it goes
        node.children, end = self.read(node.content, node.end, depth - 1, indefinite=indefinite)
        self.stop = self.stop or halted  # the innermost is where it really stops
        if indefinite:
            node.end = min(end, stop)

    def _head(self, start: int, stop: int) -> tuple[int, int | None] | None:
        """Where the content begins, and its length; None for an indefinite one."""
        at = start + 1
        if self._data[start] & _HIGH_TAG == _HIGH_TAG:
            for _ in range(_MOST_TAG_OCTETS):
                if at >= stop:
                    return None
                at += 1
                if not self._data[at - 1] & 0x80:
                    break
        if at >= stop:
            return None
        first = self._data[at]
        if first < _INDEFINITE:
            return at + 1, first
        if first == _INDEFINITE:
            return at + 1, None
        size = first & 0x7F
        if size > _MOST_LENGTH_OCTETS or at + 1 + size > stop:
            return None
        length = int.from_bytes(self._data[at + 1 : at + 1 + size], "big")
        if length < _INDEFINITE or length < 1 << 8 * (size - 1):
            self._note("a length that is longer than it needs to be, which is not DER", start)
        return at + 1 + size, length

    def _halt(self, offset: int, reason: str) -> None:
        if self.stop is None:
            self.stop = Stop(offset=offset, reason=reason)

    def _note(self, what: str, offset: int) -> None:
        self.findings.setdefault(what, Finding(text=f"{what} (octet {offset})", section=_SECTION))
