"""An honest client is served while others hold, flood and abuse the same server; scripts/hostile measures how fast."""

from __future__ import annotations

import numpy as np
import pytest
from support.attacks import ATTACKS, under
from support.peers import Provider, bundles, embeddings, inference, serving
from support.toy import TOY

from securealign.alignment import LinearHead
from securealign.he.lwe.suite import LweSuite


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "certs"
    return folder, bundles(folder)


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_honest_client_is_answered(attack, certificates):
    folder, (own, peer) = certificates
    rng = np.random.default_rng(1)
    head = LinearHead(rng.normal(size=(12, 5)), rng.normal(size=5), tuple("abcde"))
    suites, queries = [LweSuite(TOY)], embeddings(9, 12, 4)
    provider = Provider(embeddings(30, 12, 2), head, suites)
    with serving(provider, own) as (address, server):
        with under(attack, server.port, folder / "client"), inference(address, peer, 12, suites) as session:
            logits = session.logits(queries)
            session.close()
        # And still, once they have gone.
        with inference(address, peer, 12, suites) as session:
            assert np.allclose(session.logits(queries), logits, atol=1e-2)
            session.close()
    assert np.allclose(logits, queries @ head.weight + head.bias, atol=1e-2)
