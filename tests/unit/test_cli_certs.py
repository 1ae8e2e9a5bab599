"""securealign certs init, as an operator runs it."""

from __future__ import annotations

import datetime as dt
import json
import stat

import pytest
from cryptography import x509
from typer.testing import CliRunner

from securealign.cli import app
from securealign.errors import ExitCode
from securealign.pki.bundles import FILES
from securealign.pki.certificates import Role, load_bundle


def certs(*arguments):
    return CliRunner().invoke(app, ["certs", *map(str, arguments)])


def run(*arguments):
    return certs("init", *arguments)


def certificate(folder, party):
    return x509.load_pem_x509_certificate((folder / party / "cert.pem").read_bytes())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "certs"


def test_it_makes_an_authority_and_a_bundle_for_each_party(folder):
    done = run(folder)
    assert done.exit_code == ExitCode.OK
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *("ca/ca.pem", "ca/ca.key", "ca/crl.pem"),
        *(f"ca/issued/{certificate(folder, party).serial_number:040x}.pem" for party in ("provider", "client")),
        *(f"{party}/{file}" for party in ("provider", "client") for file in FILES),
    }
    assert all(str(folder / name) in done.stdout for name in ("ca", "provider", "client"))
    assert "keep offline" in done.stdout
    assert "valid for 365 days" in done.stdout
    for role in Role:
        assert load_bundle(folder / role.label, role).role is role


def test_keys_and_their_folders_are_closed_to_others(folder):
    run(folder)
    for party, key in (("ca", "ca.key"), ("provider", "key.pem"), ("client", "key.pem")):
        assert stat.S_IMODE((folder / party).stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / party / key).stat().st_mode) == 0o600


def test_json_names_the_folders(folder):
    done = run(folder, "--json")
    assert json.loads(done.stdout) == {name: str(folder / name) for name in ("ca", "provider", "client")}
    assert done.stderr == ""


def test_where_clients_are_invited_no_bundle_is_made_for_one(folder):
    done = run(folder, "--without-client", "--json")
    assert json.loads(done.stdout) == {name: str(folder / name) for name in ("ca", "provider")}
    assert sorted(path.name for path in folder.iterdir()) == ["ca", "provider"]


def test_hosts_are_added_to_the_provider_only(folder):
    run(folder, "--host", "provider.example.org", "--host", "10.0.0.7")
    names = certificate(folder, "provider").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [Role.PROVIDER.value, "provider.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    others = certificate(folder, "client").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert others.get_values_for_type(x509.DNSName) == [Role.CLIENT.value]


def test_days_say_when_certificates_expire(folder):
    assert "valid for 7 days" in run(folder, "--days", 7).stdout
    left = certificate(folder, "client").not_valid_after_utc - dt.datetime.now(dt.timezone.utc)
    assert dt.timedelta(days=6, hours=23) < left <= dt.timedelta(days=7)


@pytest.mark.parametrize("days", [0, -1, 36_501, "soon"])
def test_days_that_make_no_sense_are_refused(folder, days):
    done = run(folder, "--days", days)
    assert done.exit_code == ExitCode.USAGE
    assert done.stdout == ""
    assert not folder.exists()


def test_an_authority_is_never_replaced(folder):
    run(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run(folder, "--json")
    assert done.exit_code == ExitCode.USAGE
    assert json.loads(done.stdout)["error"] == "CONFIGURATION_INVALID"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_host_with_a_port_is_refused(folder):
    done = run(folder, "--host", "provider.example.org:50051")
    assert done.exit_code == ExitCode.USAGE
    assert "without a port" in done.stderr
    assert done.stdout == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    done = run(tmp_path / "file" / "certs", "--json")
    assert done.exit_code == ExitCode.INPUT
    error = json.loads(done.stdout)
    assert error["error"] == "FILE_INVALID"
    assert str(tmp_path / "file") in error["message"]


def listed(folder):
    done = certs("show", folder, "--json")
    assert done.exit_code == ExitCode.OK
    return json.loads(done.stdout)["certificates"]


def shown(folder):
    return {item["name"]: item for item in listed(folder)}


def test_a_party_is_issued_shown_renewed_and_revoked(folder):
    run(folder)
    issued = certs("issue", folder, "--name", "acme", "--days", 7, "--json")
    assert json.loads(issued.stdout) == {"name": "acme", "bundle": str(folder / "acme")}
    assert load_bundle(folder / "acme", Role.CLIENT).role is Role.CLIENT
    first = shown(folder)
    assert {name: (item["role"], item["revoked"]) for name, item in first.items()} == {
        "acme": ("client", None),
        "client": ("client", None),
        "provider": ("provider", None),
    }
    renewed = certs("renew", folder, "--bundle", "acme", "--json")
    assert json.loads(renewed.stdout) == {"renewed": [str(folder / "acme")], "list": str(folder / "ca" / "crl.pem")}
    serials = [item["serial"] for item in listed(folder) if item["name"] == "acme"]
    assert len(set(serials)) == 2
    assert first["acme"]["serial"] in serials
    revoked = certs("revoke", folder, "acme", "--json")
    assert [item["name"] for item in json.loads(revoked.stdout)["revoked"]] == ["acme", "acme"]
    assert shown(folder)["acme"]["revoked"]
    assert not shown(folder)["client"]["revoked"]


def test_words_say_whom_to_hand_what(folder):
    run(folder)
    certs("issue", folder, "--name", "acme")
    assert "hand it to acme only" in certs("renew", folder).stdout
    done = certs("revoke", folder, "acme").stdout
    assert "hand it to every party" in done
    assert str(folder / "ca" / "crl.pem") in done


def test_the_list_alone_can_be_renewed(folder):
    run(folder)
    before = {name: (folder / name / "cert.pem").read_bytes() for name in ("provider", "client")}
    list_before = (folder / "client" / "crl.pem").read_bytes()
    done = certs("renew", folder, "--list-only", "--json")
    assert json.loads(done.stdout)["renewed"] == []
    assert {name: (folder / name / "cert.pem").read_bytes() for name in before} == before
    assert (folder / "client" / "crl.pem").read_bytes() != list_before


def test_the_table_shows_every_certificate(folder):
    run(folder)
    lines = CliRunner().invoke(app, ["certs", "show", str(folder)], env={"COLUMNS": "250"}).stdout.splitlines()
    assert lines[0].split()[:2] == ["name", "role"]
    assert [line.split()[0] for line in lines[1:]] == ["client", "provider"]


def test_a_bundle_can_be_shown_by_the_party_that_has_it(folder):
    run(folder)
    assert shown(folder / "client")["client"]["issuer_key"] == shown(folder)["provider"]["issuer_key"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["issue", "--name", "ca"], ExitCode.USAGE, "CONFIGURATION_INVALID"),
        (["issue", "--name", "client"], ExitCode.USAGE, "CONFIGURATION_INVALID"),
        (["renew", "--bundle", "nobody"], ExitCode.INPUT, "FILE_INVALID"),
        (["revoke", "nobody"], ExitCode.INPUT, "FILE_INVALID"),
    ],
)
def test_what_cannot_be_done_is_said_as_json(folder, arguments, code, error):
    run(folder)
    done = certs(arguments[0], folder, *arguments[1:], "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]) == (code, error)


@pytest.mark.parametrize("command", [["issue", "--name", "acme"], ["renew"], ["revoke", "acme"], ["show"]])
def test_a_folder_without_an_authority_is_named(tmp_path, command):
    done = certs(command[0], tmp_path, *command[1:], "--json")
    assert done.exit_code == ExitCode.INPUT
    assert str(tmp_path) in json.loads(done.stdout)["message"]


def test_a_role_that_there_is_not_is_refused(folder):
    run(folder)
    assert certs("issue", folder, "--name", "acme", "--role", "king").exit_code == ExitCode.USAGE
    assert not (folder / "acme").exists()
