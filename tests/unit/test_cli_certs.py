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
from securealign.keys.bundles import FILES
from securealign.keys.certificates import Role, load_bundle


def run(*arguments):
    return CliRunner().invoke(app, ["certs", "init", *map(str, arguments)])


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
