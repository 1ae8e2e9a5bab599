"""Bring embeddings that were made elsewhere: here by scikit-learn, in place of an encoder that securealign loads."""

import numpy as np
import trial
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import securealign
from securealign.data import load_public

CONFIG = """
[provider]
address = "{address}"
certificates = "certs/client"
head = "topics"
[public]
texts = "public.jsonl"
embeddings = "own.npy"          # a row for each public text
[alignment]
folder = "own-alignment"
"""

with trial.start() as here:
    public = load_public(str(here.folder / "public.jsonl")).texts
    private, topics = here.news(60)

    # Any model will do that embeds public and private texts alike. This one knows words by what they occur with.
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(60, random_state=0)).fit([*public, *private])
    np.save(here.folder / "own.npy", model.transform(public))

    config = here.folder / "own.toml"
    config.write_text(CONFIG.format(address=here.address), encoding="utf-8")
    with securealign.connect(config) as client:
        report = client.align()
        print(f"aligned embeddings of {client.dimension} dimensions on {report.rows} texts")
        # What is classified are embeddings (m, d_B); the client has no encoder and sees no texts.
        labels = client.predict(model.transform(private))
        print(f"{np.mean(labels == np.array(topics)):.0%} of {len(labels)} texts have the right topic")
        print(f"relatedness of the two models: {report.figures['relatedness']:.0f} (unrelated ones: below 4)")
