"""What doctor says about the provider at the address of an invitation, and a paired client's first sessions."""

from __future__ import annotations

import datetime as dt
import shutil

import numpy as np
import pytest
from support.guides import Site, lines_of
from support.pairing import DIM_A, PROVIDER, ROWS, make_provider, run
from support.peers import Provider, embeddings, random_head, serving

from securealign.errors import ErrorCode, ExitCode
from securealign.he.lwe.suite import LweSuite
from securealign.ops.doctor.invitations import check_invitation
from securealign.pki.authority import Authority
from securealign.pki.certificates import Role, create_certificates, load_bundle
from securealign.pki.chains import now_utc


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    folder = make_provider(tmp_path_factory.mktemp("pairing") / "provider")
    Authority(folder / "certs").issue(Role.CLIENT, "other", days=1)
    create_certificates(folder / "foreign", days=1)
    return folder


def findings(provider, tmp_path, bundle, role=Role.PROVIDER, **options):
    """Serve with a bundle, and return what doctor says about an invitation to that address."""
    machine = Provider(embeddings(ROWS, DIM_A, 2), random_head(DIM_A, "ab"), [LweSuite()])
    with serving(machine, load_bundle(bundle, role)) as (address, _):
        file = tmp_path / "acme.invite"
        config = ("--config", provider / "provider.toml")
        assert run("invite", "acme", "--address", address, "-o", file, *config).code == ExitCode.OK
        return list(check_invitation(file, timeout=600, **options))


def codes(found):
    return [(finding.check, finding.code) for finding in found if finding.code is not None]


def test_the_provider_of_the_invitation_is_recognised_without_a_certificate(provider, tmp_path):
    found = findings(provider, tmp_path, provider / "certs" / "provider")
    assert codes(found) == []
    assert found[-1].check == "role"
    assert "provider 'provider', of the authority in the invitation" in found[-1].message


def test_somebody_of_another_authority_at_the_address_is_noticed(provider, tmp_path):
    found = findings(provider, tmp_path, provider / "foreign" / "provider")
    assert codes(found) == [("authority", ErrorCode.PEER_UNTRUSTED)]


def test_another_client_at_the_address_is_noticed(provider, tmp_path):
    found = findings(provider, tmp_path, provider / "certs" / "other", Role.CLIENT)
    assert codes(found) == [("role", ErrorCode.WRONG_ROLE)]


def test_an_expired_invitation_is_told_before_the_provider_is_asked(provider, tmp_path):
    late = now_utc() + dt.timedelta(days=8)
    found = findings(provider, tmp_path, provider / "certs" / "provider", clock=lambda: late)
    assert codes(found)[0] == ("expiry", ErrorCode.INPUT_INVALID)


GUIDE = lines_of("README.md")


def carry(root):
    """Copy to each party what the other one has made for it."""
    for made, wanted in (
        ("provider/acme.invite", "client/acme.invite"),
        ("client/acme/acme.request", "provider/acme.request"),
        ("provider/acme.cert", "client/acme.cert"),
    ):
        if (root / made).exists():
            shutil.copy(root / made, root / wanted)


@pytest.mark.thorough
@pytest.mark.skipif(not GUIDE, reason="only the repository has the guide")
def test_the_guide_pairs_two_folders_that_align_and_classify(tmp_path):
    make_provider(tmp_path / "provider")
    shutil.rmtree(tmp_path / "provider" / "certs")
    (tmp_path / "provider" / "provider.toml").unlink()
    (tmp_path / "client").mkdir()
    stand_ins = {
        "--encoder sentence-transformers/all-mpnet-base-v2": "--embeddings ../provider/public_b.npy",
        "--input private.jsonl --output labels.tsv": "--embeddings ../../provider/private_b.npy",
    }
    outputs = []
    with Site({"provider": tmp_path / "provider", "client": tmp_path / "client"}, stand_ins) as site:
        for line in GUIDE:
            if line.command.startswith("securealign-provider"):
                # As an operator has edited it.
                (tmp_path / "provider" / "provider.toml").write_text(PROVIDER, encoding="utf-8")
                site.start()
                stand_ins["provider.example:50051"] = f"127.0.0.1:{site.listening['port']}"
                continue
            if line.command.startswith("cd acme && "):
                site.folders["client"] /= "acme"
            outputs.append(site.run(line._replace(command=line.command.removeprefix("cd acme && "))))
            carry(tmp_path)
    assert len(GUIDE) == 10
    labels = [row for row in outputs[-1].splitlines() if "\t" in row]
    assert len(labels) == len(np.load(tmp_path / "provider" / "private_b.npy"))
    assert {label.split("\t")[1] for label in labels} <= {"low", "high"}
