"""``[[est.profile]]``: what is read, and what the lint does not let pass."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from brski.edge.settings import read_settings
from brski.errors import SettingsError
from brski.est.csr_attributes import Announcement
from brski.est.requirements import P256, P384
from brski.registry import ID_CE_SUBJECT_ALT_NAME, ID_KP_CLIENT_AUTH
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.client_settings import ESTClientCASettings, ESTRASettings
from registrar_plugin.est_server.opening import profile_of
from registrar_plugin.est_server.profile_settings import OPERATIONS, ESTProfileSettings
from registrar_plugin.est_server.settings import ESTSettings
from registrar_plugin.identity.clients import client_key

HERE = Path("registrar.toml")


def read(*profiles: dict[str, Any]) -> tuple[EnrollmentProfile, ...]:
    settings = read_settings({"profile": list(profiles)}, ESTSettings, source=HERE)
    return tuple(map(profile_of, settings.profile))


def refused(*profiles: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        read(*profiles)
    return str(caught.value)


def test_the_commented_file_has_every_key() -> None:
    """And none that is not there."""
    text = (Path(__file__).parents[3] / "conf" / "registrar.toml").read_text()
    block = text.partition("# [[est.profile]]")[2].partition("\n\n")[0]
    keys = {line[2:].partition(" = ")[0] for line in block.splitlines() if " = " in line}
    assert keys == set(ESTProfileSettings.model_fields)
    block = text.partition("# [[est.client_ca]]")[2].partition("\n\n")[0]
    keys = {line[2:].partition(" = ")[0] for line in block.splitlines() if " = " in line}
    assert keys == set(ESTClientCASettings.model_fields)
    block = text.partition("# [[est.ra]]")[2].partition("\n\n")[0]
    keys = {line[2:].partition(" = ")[0] for line in block.splitlines() if " = " in line}
    assert keys == set(ESTRASettings.model_fields)


def test_an_empty_table_is_the_usual_profile() -> None:
    """What a registrar without any has."""
    assert read({}) == (EnrollmentProfile(),)


def test_a_profile_says_what_it_issues() -> None:
    """Each key of the table comes out where the decisions look for it."""
    (profile,) = read(
        {
            "label": "sensors",
            "validity_days": 30,
            "keys": ["P-384", "P-256"],
            "extended_key_usages": ["clientAuth", "1.3.6.1.5.5.7.3.17"],
            "dns_name": "{serial_number}.devices.example.com",
            "require_dns_name": True,
            "csrattrs": "both",
            "base64": "wrap",
            "change_subject_name": True,
        }
    )
    assert profile.label == "sensors"
    assert profile.validity == timedelta(days=30)
    assert profile.extended_key_usages == (ID_KP_CLIENT_AUTH, "1.3.6.1.5.5.7.3.17")
    assert profile.requirements.keys == (P384, P256)
    assert profile.requirements.extension_oids == (ID_CE_SUBJECT_ALT_NAME,)
    assert (profile.announcement, profile.base64) == (Announcement.BOTH, "wrap")
    assert profile.change_subject_name


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_an_operation_is_no_label(label: str) -> None:
    """The path could not be told from the operation's own (RFC 7030 §3.2.2)."""
    assert "operation" in refused({"label": label})


@pytest.mark.parametrize("label", ["", "a/b", "ä", "a b", "{label}", "x" * 65])
def test_a_label_is_one_plain_path_segment(label: str) -> None:
    """Nothing that a URL would have to escape."""
    refused({"label": label})


def test_each_label_is_there_once() -> None:
    """And so is the profile without one."""
    assert "'a'" in refused({"label": "a"}, {"label": "a"})
    assert "without a label" in refused({}, {"label": "a"}, {})


def test_a_certificate_without_client_auth_is_not_renewed() -> None:
    """Who forgets it learns so at the start, and not when the first LDevID ends."""
    said = refused({"extended_key_usages": ["serverAuth"]})
    assert "clientAuth" in said
    assert "renew" in said
    (profile,) = read({"extended_key_usages": ["serverAuth"], "renewable": False})
    assert not profile.renewable


def test_clients_that_are_no_devices_may_ask_for_their_names() -> None:
    """Which they are, their authority knows; devices have the profile's or none."""
    settings = read_clients(client_ca(labels=["b"]), a=["brski"], b=["brski", "certificate"])
    devices, clients = map(profile_of, settings.profile)
    assert devices.requirements.optional_extensions == frozenset()
    assert clients.requirements.optional_extensions == frozenset([ID_CE_SUBJECT_ALT_NAME])


@pytest.mark.parametrize(
    "table",
    [
        {"extended_key_usages": ["clientAuth", "1.3.6.1.5.5.7.3.2"]},
        {"extended_key_usages": ["2.5.29.37.0"], "renewable": False},
        {"extended_key_usages": ["tlsClient"]},
        {"keys": []},
        {"keys": ["P-521"]},
        {"enrollees": []},
        {"enrollees": ["strangers"]},
        {"enrollees": ["brski", "password", "brski"]},
        {"dns_name": "devices.example.com"},
        {"dns_name": "x{serial_number}.example.com"},
        {"dns_name": "{serial_number}.*.example.com"},
        {"dns_name": "{serial_number}"},
        {"require_dns_name": True},
        {"csrattrs": "asn1"},
        {"base64": "none"},
        {"validity_days": 0},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(table: dict[str, Any]) -> None:
    """With the place in the file."""
    assert "profile.0" in refused(table)


def ra(**keys: Any) -> dict[str, Any]:
    return {
        "name": "east",
        "client": "certificate:previous:east-ra",
        "labels": ["a"],
        "common_names": ["gw-*.east"],
        **keys,
    }


WEST = {"name": "west", "client": "certificate:previous:west-ra", "common_names": ["gw-*.west"]}


def read_ras(*ras: dict[str, Any], **more: Any) -> ESTSettings:
    """With a profile of id-kp-cmcRA for clients of another CA."""
    own = {
        "label": "ras",
        "enrollees": ["certificate"],
        "extended_key_usages": ["clientAuth", "cmcRA"],
        **more.pop("own", {}),
    }
    profiles = [{"label": "a", "enrollees": ["ra"], **more}, own]
    table = {"profile": profiles, "client_ca": [client_ca(labels=["ras"])], "ra": list(ras)}
    return read_settings(table, ESTSettings, source=HERE)


def test_a_registration_authority_and_its_profiles_fit() -> None:
    """Its certificate is of one profile, its clients' of another."""
    one, other = read_ras(ra(), ra(**WEST, dns_names=["gw-*.west.example.com"])).ra
    assert one.client_key() == client_key("certificate", "previous:east-ra")
    assert (one.dns_names, one.foreign_binding) == ((), False)
    assert other.dns_names == ("gw-*.west.example.com",)


@pytest.mark.parametrize(
    ("ras", "more", "said"),
    [
        ([], {}, "no ra has it"),
        ([ra(labels=["b"])], {}, "no profile b"),
        ([ra(labels=["ras"])], {}, "no profile ras"),
        ([ra(), ra()], {}, "same name"),
        ([ra(), ra(name="west")], {}, "same name"),
        ([ra(), ra(**WEST | {"common_names": ["gw-*"]})], {}, "one name"),
        (
            [ra(dns_names=["*.example.com"]), ra(**WEST, dns_names=["gw-*.example.com"])],
            {},
            "one name",
        ),
        ([ra(client="password:east-ra")], {}, "no profile gives cmcRA"),
        ([ra()], {"own": {"extended_key_usages": ["clientAuth"]}}, "no profile gives cmcRA"),
        ([ra(client="brski:SN-1")], {}, "names no client"),
        ([ra(client="east-ra")], {}, "names no client"),
        ([ra(client="certificate:")], {}, "names no client"),
        ([ra(common_names=[])], {}, "common_names"),
        ([ra(denied=["west:gw-7"])], {}, "no client of 'east'"),
        ([ra(common_names=["*"])], {}, "everybody"),
        ([ra(common_names=["gw-*-*"])], {}, "one *"),
        ([ra(dns_names=["*.Example.com"])], {}, "lower case"),
        ([ra(dns_names=["gw-*"])], {}, "no DNS name"),
        ([ra(dns_names=["*example.com."])], {}, "no DNS name"),
        ([ra(name="e:t")], {}, "name"),
        ([ra(name="x" * 17)], {}, "name"),
        ([ra()], {"server_keys": True}, "asks for others"),
        ([ra()], {"dns_name": "{serial_number}.example.com"}, "no DNS name"),
        ([ra()], {"extended_key_usages": ["clientAuth", "cmcRA"]}, "cmcRA"),
    ],
    ids=str,
)
def test_a_registration_authority_that_fits_nothing_is_refused(
    ras: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    """At the start, with the place that is wrong."""
    with pytest.raises(SettingsError) as caught:
        read_ras(*ras, **more)
    assert said in str(caught.value)


def test_dns_names_of_devices_are_no_ras() -> None:
    """Neither one of them nor all."""
    domain = {"enrollees": ["brski"], "dns_name": "{serial_number}.devices.example.com"}
    for name in ("*.devices.example.com", "gw-7.devices.example.com"):
        table = {
            "profile": [
                domain,
                {"label": "a", "enrollees": ["ra"]},
                {
                    "label": "ras",
                    "enrollees": ["certificate"],
                    "extended_key_usages": ["clientAuth", "cmcRA"],
                },
            ],
            "client_ca": [client_ca(labels=["ras"])],
            "ra": [ra(dns_names=[name])],
        }
        with pytest.raises(SettingsError, match="devices'"):
            read_settings(table, ESTSettings, source=HERE)


def client_ca(**keys: Any) -> dict[str, Any]:
    return {"name": "previous", "anchors": __file__, "labels": ["a"], **keys}


def read_clients(*cas: dict[str, Any], **admitted: list[str]) -> ESTSettings:
    profiles = [{"label": label, "enrollees": kinds} for label, kinds in admitted.items()]
    return read_settings({"profile": profiles, "client_ca": list(cas)}, ESTSettings, source=HERE)


def test_a_client_ca_and_its_profiles_name_each_other() -> None:
    """Each label is there, and each such profile has a CA."""
    settings = read_clients(client_ca(), a=["brski", "certificate"], b=["brski"])
    (ca,) = settings.client_ca
    assert (ca.admit_new, ca.denied, ca.usages()) == (True, (), ())
    both = read_clients(client_ca(), client_ca(name="next", labels=["a"]), a=["certificate"])
    assert [each.name for each in both.client_ca] == ["previous", "next"]


@pytest.mark.parametrize(
    ("cas", "admitted", "said"),
    [
        ([client_ca(labels=["c"])], {"a": ["certificate"]}, "no profile c"),
        ([client_ca(labels=["a", ""])], {"a": ["certificate"]}, "(no label)"),
        ([client_ca()], {"a": ["brski"]}, "'certificate' among"),
        ([], {"a": ["certificate"]}, "no client_ca has it"),
        ([client_ca(), client_ca()], {"a": ["certificate"]}, "same name"),
        ([client_ca(labels=[])], {"a": ["certificate"]}, "labels"),
        ([client_ca(labels=["a", "a"])], {"a": ["certificate"]}, "twice"),
        ([client_ca(name="a:b")], {"a": ["certificate"]}, "name"),
        ([client_ca(name="x" * 25)], {"a": ["certificate"]}, "name"),
        ([client_ca(denied=["gw-7"])], {"a": ["certificate"]}, "no client of 'previous'"),
        ([client_ca(common_names=["*"])], {"a": ["certificate"]}, "everybody"),
        ([client_ca(anchors="missing.pem")], {"a": ["certificate"]}, "no file"),
        ([client_ca(extended_key_usages=["2.5.29.37.0"])], {"a": ["certificate"]}, "every"),
    ],
    ids=str,
)
def test_a_client_ca_that_fits_nothing_is_refused(
    cas: list[dict[str, Any]], admitted: dict[str, list[str]], said: str
) -> None:
    """At the start, with the place that is wrong."""
    with pytest.raises(SettingsError) as caught:
        read_clients(*cas, **admitted)
    assert said in str(caught.value)


@pytest.mark.parametrize("kinds", [["brski"], ["ra"], ["certificate", "brski"]], ids=str)
@pytest.mark.parametrize("purpose", ["cmcRA", "1.3.6.1.5.5.7.3.28"])
def test_no_device_is_made_a_registrar(kinds: list[str], purpose: str) -> None:
    """MASAs and pledges take whoever has this purpose for one (RFC 8995 §5.5.4)."""
    profile = {"label": "a", "extended_key_usages": ["clientAuth", purpose]}
    table = {"client_ca": [client_ca()], "profile": [profile | {"enrollees": kinds}]}
    with pytest.raises(SettingsError, match="cmcRA"):
        read_settings(table, ESTSettings, source=HERE)
    table["profile"] = [profile | {"enrollees": ["certificate"]}]
    (read_,) = read_settings(table, ESTSettings, source=HERE).profile
    assert read_.purposes() == (ID_KP_CLIENT_AUTH, "1.3.6.1.5.5.7.3.28")


def test_no_dns_name_is_made_of_a_client_with_a_colon() -> None:
    """A profile that would refuse each of its clients is not read."""
    refused_for = {"label": "a", "dns_name": "{serial_number}.example.com"}
    settings = {"profile": [refused_for | {"enrollees": ["certificate"]}]}
    with pytest.raises(SettingsError, match="no DNS name"):
        read_settings(settings | {"client_ca": [client_ca()]}, ESTSettings, source=HERE)


DEVICES, CLIENTS = {"label": "a"}, {"label": "b", "enrollees": ["password"]}
OURS, THEIRS = "{serial_number}.devices.example.com", "{serial_number}.clients.example.com"


@pytest.mark.parametrize(
    ("profiles", "good"),
    [
        ([DEVICES | {"dns_name": OURS}, CLIENTS | {"dns_name": THEIRS}], True),
        ([DEVICES | {"dns_name": OURS}, CLIENTS], True),
        ([DEVICES, CLIENTS], True),
        ([DEVICES | {"dns_name": OURS}, CLIENTS | {"dns_name": OURS}], False),
        ([{"enrollees": ["brski", "password"], "dns_name": OURS}], False),
    ],
)
def test_accounts_are_named_in_another_domain_than_devices(
    tmp_path: Path, profiles: list[dict[str, Any]], good: bool
) -> None:
    """Else a user name could be a serial number's DNS name."""
    (tmp_path / "accounts").touch()
    document = {"profile": profiles, "password_file": "accounts"}
    if good:
        read_settings(document, ESTSettings, source=tmp_path / "registrar.toml")
        return
    with pytest.raises(SettingsError, match="another domain than devices"):
        read_settings(document, ESTSettings, source=tmp_path / "registrar.toml")


def test_passwords_want_a_file(tmp_path: Path) -> None:
    """That is there; without such clients none is needed."""
    assert "set password_file" in refused(CLIENTS)
    document = {"profile": [CLIENTS], "password_file": "accounts"}
    with pytest.raises(SettingsError, match="accounts"):
        read_settings(document, ESTSettings, source=tmp_path / "registrar.toml")
