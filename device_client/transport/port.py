"""The port to whatever carries octets to a registrar: one connection, and who is at its other end.

Two adapters, for the two places where a private key can be: :mod:`device_client.transport.streams`
for a key in this process, :mod:`device_client.transport.signing_channel` for one that only signs
elsewhere.
"""

from __future__ import annotations

from typing import Protocol

from cryptography import x509


class Octets(Protocol):
    """One connection, as HTTP needs it. Nothing here bounds time; the caller does."""

    async def is_open(self) -> bool:
        """Whether octets may still go over it: as far as what has come tells, neither side has
        closed. Waits for nothing more to come.
        """

    async def send(self, data: bytes) -> None:
        """Send all of *data*.

        Raises:
            OSError: the connection broke.
        """

    async def receive(self, most: int) -> bytes:
        """What came, *most* octets at most; empty at the end.

        Raises:
            OSError: the connection broke, or was cut without a farewell.
        """

    async def close(self) -> None:
        """Close politely. Raises :class:`OSError` where the connection is broken already."""

    def abort(self) -> None:
        """Drop the connection at once; raises nothing."""


class Channel(Octets, Protocol):
    """A TLS connection whose peer has proved that it holds the key of its first certificate."""

    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """The peer's certificates as sent, leaf first; unjudged.

        Raises:
            TooLarge: more than eight certificates, or one that is too long.
            Malformed: one is not strict DER.
        """

    def channel_binding(self) -> bytes:
        """What both ends of this one connection know, and no third.

        12 octets of tls-unique on TLS 1.2, 32 of the exporter on 1.3.

        RFC 7030 §3.5; RFC 5929 §3; RFC 9266.
        """
