"""The procedures of docs/operations.md, command by command, between a provider's process and a client's."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.guides import Line, Site, lines_of
from support.machines import inference_client
from support.pairing import DIM_A, DIM_B, PROVIDER, ROWS, make_provider, run, write_texts

from securealign.errors import ErrorCode, SecurealignError
from securealign.he.entropy import SystemEntropy
from securealign.he.lwe.suite import LweSuite
from securealign.pki.certificates import Role, load_bundle
from securealign.transport.credentials import FixedBundle
from securealign.transport.grpc_client import GrpcLink, call
from securealign.transport.grpc_server import INFERENCE_METHOD, LISTING_METHOD
from securealign.transport.meter import Meter
from securealign.transport.sessions import InferenceSession
from securealign.wire import decode_listing, encode_listing_request

DOCUMENT = "docs/operations.md"
SECTIONS = ("Change a head", "Change the public texts", "Back up", "Renew", "Revoke")
LINES = {section: lines_of(DOCUMENT, section) for section in SECTIONS}
LABELS = "classify --config client.toml --input private.jsonl --output"


def made(folder):
    """Make both folders: a head and public texts, others to change to, and a client that has joined as acme."""
    provider, client = make_provider(folder / "provider"), folder / "client"
    random = np.random.default_rng(5)
    (provider / "provider.toml").write_text(PROVIDER + '[policy]\noutput = "label"\n', encoding="utf-8")
    save_file({"weight": random.normal(size=(2, DIM_A)), "bias": np.zeros(2)}, provider / "topics-2.safetensors")
    write_texts(provider / "public-2.jsonl", [f"other text {index}" for index in range(ROWS)])
    z_b = random.normal(size=(ROWS, DIM_B))
    np.save(provider / "public-2.npy", z_b @ random.normal(size=(DIM_B, DIM_A)))
    site = Site({"provider": provider, "client": client})
    return site, z_b


def join(site, folder, z_b):
    """Let the client join by invitation, as the guide of the README does."""
    provider, client = site.folders["provider"], site.folders["client"]
    address = f"127.0.0.1:{site.listening['port']}"
    site.stand_ins = {"provider.example:50051": address, "--input private.jsonl": "--embeddings private.npy"}
    config = ("--config", provider / "provider.toml")
    invitation = folder / "acme.invite"
    steps = (
        ("invite", "acme", "--address", address, "--with-texts", "-o", invitation, *config),
        ("join", invitation, "--folder", client, "--embeddings", provider / "public_b.npy"),
        ("certs", "sign", client / "acme.request", "--certs", provider / "certs", "-o", folder / "acme.cert"),
        ("join", "--certificate", folder / "acme.cert", "--folder", client),
    )
    for step in steps:
        assert run(*step).code == 0, step
    shutil.copy(provider / "public_b.npy", client / "public.npy")
    shutil.copy(provider / "private_b.npy", client / "private.npy")
    np.save(client / "public-2.npy", z_b)
    file = client / "client.toml"
    text = re.sub('(?m)^embeddings = ".*"', 'embeddings = "public.npy"', file.read_text(encoding="utf-8"))
    file.write_text(text, encoding="utf-8")


def listed(site):
    """Return what the provider says of its head to the client."""
    bundle = FixedBundle(load_bundle(site.folders["client"] / "certs", Role.CLIENT))
    address = f"127.0.0.1:{site.listening['port']}"
    (head,) = decode_listing(call(address, bundle, LISTING_METHOD, encode_listing_request(""))).heads
    return head


def opened(site):
    """Return the connection of a session on the provider's head, and the session."""
    meter, space = Meter(counted="client"), bytes.fromhex(site.listening["space"])
    machine = inference_client([LweSuite()], DIM_A, entropy=SystemEntropy(), slots=4, space=space)
    bundle = load_bundle(site.folders["client"] / "certs", Role.CLIENT)
    address = f"127.0.0.1:{site.listening['port']}"
    link = GrpcLink(address, bundle, INFERENCE_METHOD, machine, meter, deadline_seconds=600)
    return link, InferenceSession(link, machine, meter)


def test_a_command_that_does_not_do_what_its_comment_says_is_noticed(tmp_path):
    site = Site({"client": tmp_path})
    fails = "echo error HEAD_CHANGED; exit 4"
    site.run(Line("client", fails, "the client sees HEAD_CHANGED"))
    site.run(Line("client", "echo labels", 'it says "labels"'))
    for command, comment in ((fails, ""), ("true", "HEAD_CHANGED"), (fails, "SPACE_MISMATCH"), ("echo", '"labels"')):
        with pytest.raises(AssertionError):
            site.run(Line("client", command, comment))


@pytest.mark.thorough
@pytest.mark.skipif(not all(LINES.values()), reason="only the repository has the document")
def test_the_procedures_of_the_document_do_what_it_says(tmp_path):
    site, z_b = made(tmp_path)
    client, provider = site.folders["client"], site.folders["provider"]
    with site:
        site.start()
        join(site, tmp_path, z_b)
        first = lines_of(DOCUMENT, "Change a head")[-1]._replace(comment="")
        site.run(first._replace(command="securealign-client align --config client.toml"))
        site.run(first._replace(command=f"securealign-client {LABELS} labels-1.tsv"))
        # A session that is open while the head is changed ends; what its answers cost stays charged.
        before = listed(site)
        link, session = opened(site)
        with link:
            session.answers(np.ones((1, DIM_A)))
            site.run_all(LINES["Change a head"])
            with pytest.raises(SecurealignError) as caught:
                session.answers(np.ones((1, DIM_A)))
        assert caught.value.code is ErrorCode.HEAD_CHANGED
        after = listed(site)
        assert before.head_digest != after.head_digest
        # One query of the open session, and five that were classified.
        assert after.queries_left <= before.queries_left - 6

        old_space = site.listening["space"]
        said = site.run_all(LINES["Change the public texts"])
        assert said[1] == said[2]
        assert site.listening["space"] != old_space

        before = listed(site)
        said = site.run_all(LINES["Back up"])
        after = listed(site)
        assert (before.space, before.head_digest) == (after.space, after.head_digest)
        assert after.queries_left > before.queries_left
        assert "acme" in said[-1]

        key = (client / "certs" / "key.pem").read_bytes()
        site.run_all(LINES["Renew"])
        assert (client / "certs" / "key.pem").read_bytes() != key
        assert (client / "certs" / "crl.pem").read_bytes() == (provider / "certs" / "ca" / "crl.pem").read_bytes()
        assert listed(site).queries_left == after.queries_left

        site.run_all(LINES["Revoke"])
    assert {len(file.read_text().splitlines()) for file in client.glob("labels-*.tsv")} == {5}
    assert len(list(client.glob("labels-*.tsv"))) == 4
