"""Classify private texts with the provider's classifier, and look at what it cost and what left this machine."""

import trial

import securealign

with trial.start() as here, securealign.connect(here.config) as client:
    texts, topics = here.news(60)
    print("topics:", ", ".join(client.classes_))

    labels = client.predict(texts)
    right = sum(label == topic for label, topic in zip(labels, topics, strict=True))
    print(f"{right} of {len(texts)} texts have the right topic")

    # The provider answers this head with logits, so there are probabilities as well.
    shares = client.predict_proba(texts[:3])
    for row, text in zip(shares, texts, strict=False):
        print(f"{client.classes_[row.argmax()]:8} {row.max():.2f}  {text[:50]}")

    status = client.status()
    print(f"{status.queries} texts and {status.checks} checks of answers were asked, in {status.sessions} session")
    for kind in status.traffic:
        print(
            f"  {'sent' if kind.sent else 'received':8} {kind.kind:16} {kind.messages:3} messages {kind.bytes:9,} bytes"
        )
    print(f"budget: {client.budget.queries:,} queries left")
