"""The provider's classifier as the last step of a pipeline of scikit-learn."""

import trial
from sklearn.metrics import classification_report
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from securealign.sklearn import RemoteClassifier


def shortened(texts: list[str]) -> list[str]:
    """Return the first thirty words of each text."""
    return [" ".join(text.split()[:30]) for text in texts]


with trial.start() as here:
    texts, topics = here.news(90)
    classifier = RemoteClassifier(here.config, head="topics")
    pipeline = make_pipeline(FunctionTransformer(shortened), classifier)

    # Nothing is trained: fit checks that provider, map and inputs fit. It sends neither texts nor labels.
    pipeline.fit(texts, topics)
    print(classification_report(topics, pipeline.predict(texts), labels=["acq", "earn"]))

    # All folds share one open client. Each fold asks for its texts, which the provider charges.
    scores = cross_val_score(pipeline, texts, topics, cv=KFold(3))
    print("accuracy in three parts:", ", ".join(f"{score:.2f}" for score in scores))
    classifier.close()
