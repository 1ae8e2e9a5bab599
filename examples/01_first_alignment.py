"""Align with a provider once: learn, under encryption, the map from your embeddings to the provider's."""

import trial

import securealign

with (
    trial.start() as here,
    # The folder holds public.jsonl, which the provider has too; the map is written to it.
    securealign.connect(
        address=here.address,
        certificates=here.folder / "certs" / "client",
        encoder="glove",
        folder=here.folder,
        head="topics",
    ) as client,
):
    report = client.align()
    print(f"{report.rows} public texts, suite {report.suite}, map {report.kind}")
    print(f"sent {report.bytes_up / 1e6:.1f} MB, received {report.bytes_down / 1e6:.1f} MB")
    print(f"the map explains {report.r2:.0%} of the provider's public embeddings, {report.r2_unseen:.0%} of other ones")
    print(f"the provider counts {report.leaked_fraction:.0%} of its public embeddings as shown to you")

    # From here on every text can be classified. The provider sees ciphertexts alone.
    (answer,) = client.classify(["the company said it has agreed to buy its rival for 20 mln dlrs"])
    print(f"topic: {answer.label}, probability {answer.score:.2f}")
