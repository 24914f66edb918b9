"""What is made of announcements that anybody may have made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_client.discovery.offers import Offer, origins_of
from device_client.discovery.port import FOUND_LIMIT
from device_client.pledge.origin import Origin


def first(found: object, most: int) -> tuple[Origin, ...]:
    assert isinstance(found, tuple)
    return found[-most:]


def origins(*offers: Offer, loopback: bool = False) -> tuple[Origin, ...]:
    return origins_of(offers, loopback=loopback, choose=first)


@pytest.mark.requirement("DIS-3")
def test_the_port_is_the_announced_one() -> None:
    """There is no fixed one; of two addresses IPv4 is tried first."""
    offer = Offer(port=41443, addresses=("2001:db8::7", "192.0.2.7"))
    assert origins(offer) == (Origin("192.0.2.7", 41443), Origin("2001:db8::7", 41443))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "::",
        "224.0.0.251",
        "ff02::fb",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.7",
        "fe80::1",
        "registrar.example.com",
        "",
    ],
)
def test_addresses_that_no_registrar_can_have(address: str) -> None:
    """Left out; the next one of the same offer is taken."""
    assert origins(Offer(port=443, addresses=(address,))) == ()
    both = Offer(port=443, addresses=(address, "192.0.2.7"))
    assert origins(both) == (Origin("192.0.2.7", 443),)


def test_loopback_counts_where_the_device_listens_there() -> None:
    offer = Offer(port=443, addresses=("127.0.0.1",))
    assert origins(offer, loopback=True) == (Origin("127.0.0.1", 443),)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none(port: int) -> None:
    assert origins(Offer(port=port, addresses=("192.0.2.7",))) == ()


def test_of_many_a_choice_is_taken() -> None:
    """The same one twice is one; and of one instance two addresses at most."""
    same = Offer(port=443, addresses=("192.0.2.7",))
    assert origins(same, same) == (Origin("192.0.2.7", 443),)
    many = Offer(port=443, addresses=tuple(f"192.0.2.{n}" for n in range(1, 100)))
    assert len(origins(many)) == 2
    crowd = [Offer(port=port, addresses=("192.0.2.7",)) for port in range(1, 1000)]
    found = origins(*crowd)
    assert len(found) == FOUND_LIMIT
    assert found[-1] == Origin("192.0.2.7", 999)


@given(st.integers(), st.lists(st.text(max_size=40), max_size=4))
def test_no_announcement_breaks_it(port: int, addresses: list[str]) -> None:
    found = origins(Offer(port=port, addresses=tuple(addresses)))
    assert all(0 < origin.port < 65536 for origin in found)
