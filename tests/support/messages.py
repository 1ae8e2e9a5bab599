"""One valid message of every type, and strategies that draw them within what the wire can hold."""

from __future__ import annotations

from functools import partial

from hypothesis import strategies as st

from securealign.errors import ErrorCode
from securealign.protocol import messages as m

DIGEST = bytes(32)
SPACE = bytes(range(16))
_OFFER = m.SuiteOffer(name="plaintext", parameter_set="plaintext", parameter_digest=DIGEST)
_HELLO = m.Hello(versions=(3,), suites=(_OFFER,), nonce=DIGEST)
_ACCEPT = m.Accept(version=3, suite=_OFFER, nonce=DIGEST)

_SHARED = (
    m.KeyChunk(total=9, offset=0, data=b"plaintext"),
    m.UploadAck(uploads=1),
    m.Confirm(transcript_digest=DIGEST),
    m.Abort(code=ErrorCode.CANCELLED),
    m.Resume(nonce=DIGEST, received=3),
    m.Resumed(received=3),
    m.DurableAck(messages=3),
)
TRAINING: tuple[m.Message, ...] = (
    m.TrainingHello(hello=_HELLO, client_dim=4, rows=12, dataset_digest=DIGEST),
    m.TrainingAccept(accept=_ACCEPT, provider_dim=3, dataset_digest=DIGEST, window=8, space=SPACE, total_squares=24.5),
    m.TrainingAccept(
        accept=_ACCEPT,
        provider_dim=3,
        dataset_digest=DIGEST,
        window=8,
        space=SPACE,
        total_squares=0.0,
        privacy=m.PrivacyTerms(epsilon=1.0, delta=1e-6, noise_multiplier=4.2),
    ),
    m.RowBatch(first=0, count=1, data=b"rows"),
    m.Finish(),
    m.ResultChunk(total=6, offset=0, data=b"result"),
    *_SHARED,
)
INFERENCE: tuple[m.Message, ...] = (
    m.InferenceHello(hello=_HELLO, provider_dim=3, slots=4, space=SPACE),
    m.InferenceHello(hello=_HELLO, provider_dim=3, slots=4, space=SPACE, outputs=tuple(m.OutputMode)),
    m.InferenceAccept(
        accept=_ACCEPT, classes=2, class_names=(), output=m.OutputMode.LOGITS, queries_left=10, window=8, live_pools=2
    ),
    m.InferenceAccept(
        accept=_ACCEPT,
        classes=2,
        class_names=("no", "yes"),
        output=m.OutputMode.LABEL,
        queries_left=10,
        window=8,
        live_pools=2,
        head_digest=DIGEST,
        labels=m.LabelTerms(bits=16, segments=4, buckets=0, abstains=True, offer=b"offer"),
    ),
    m.Prepare(pool=0, nonce=DIGEST),
    m.PoolChunk(pool=0, total=4, offset=0, data=b"pool"),
    m.ChoicesChunk(pool=0, total=7, offset=0, data=b"choices"),
    m.TablesChunk(pool=0, total=6, offset=0, data=b"tables"),
    m.Query(pool=0, first_slot=0, count=1, data=b"query"),
    m.Answer(pool=0, first_slot=0, count=1, total=6, offset=0, data=b"answer"),
    *_SHARED,
)

_u32 = st.integers(0, 2**32 - 1)
_positive = st.integers(1, 2**32 - 1)
_digests = st.binary(min_size=32, max_size=32)
_spaces = st.binary(min_size=16, max_size=16)
_texts = st.text(min_size=1, max_size=20).filter(str.isprintable)
_payloads = st.binary(max_size=64)
_windows = st.integers(1, 1024)
_offers = st.builds(m.SuiteOffer, name=_texts, parameter_set=_texts, parameter_digest=_digests)
_hellos = st.builds(
    m.Hello,
    versions=st.lists(_u32, min_size=1, max_size=16).map(tuple),
    suites=st.lists(_offers, min_size=1, max_size=4).map(tuple),
    nonce=_digests,
)
_accepts = st.builds(m.Accept, version=_u32, suite=_offers, nonce=_digests)
_label_terms = st.builds(
    m.LabelTerms,
    bits=st.integers(8, 24),
    segments=st.sampled_from([1, 2, 4]),
    buckets=st.integers(0, 3),
    abstains=st.booleans(),
    offer=_payloads,
)
_outputs = st.lists(st.sampled_from(m.OutputMode), min_size=1, max_size=3).map(tuple)


@st.composite
def _chunks(draw: st.DrawFn, kind: type[m.Chunk], **fields: st.SearchStrategy[int]) -> m.Chunk:
    data = draw(_payloads)
    offset = draw(st.integers(0, 2**63))
    total = draw(st.integers(offset + len(data), 2**64 - 1))
    return kind(total=total, offset=offset, data=data, **{name: draw(value) for name, value in fields.items()})


_offer_names = st.just("") | st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)


@st.composite
def _inference_accepts(draw: st.DrawFn) -> m.InferenceAccept:
    names = tuple(draw(st.lists(_texts, max_size=4)))
    labels = draw(st.none() | _label_terms)
    mode = m.OutputMode.LOGITS if labels is None else m.OutputMode.LABEL
    mode = m.OutputMode.LABEL_CONFIDENCE if labels is not None and labels.buckets else mode
    classes = len(names) or draw(_positive)
    links = [link for link in m.Link if classes == 2 or link is not m.Link.SIGMOID]
    return m.InferenceAccept(
        accept=draw(_accepts),
        classes=classes,
        class_names=names,
        output=mode,
        queries_left=draw(st.integers(0, 2**64 - 1)),
        window=draw(_windows),
        live_pools=draw(st.integers(1, 2**32 - 1)),
        logit_bits=draw(st.integers(0, 64)),
        head_digest=draw(_digests),
        labels=labels,
        link=m.Link.MARGIN if labels is not None else draw(st.sampled_from(links)),
    )


_widths = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
_privacy_terms = st.builds(
    m.PrivacyTerms,
    epsilon=_widths,
    delta=st.floats(0, 1, exclude_min=True, exclude_max=True),
    noise_multiplier=_widths,
)
_shared_messages = (
    _chunks(m.KeyChunk),
    st.builds(m.UploadAck, uploads=st.integers(0, 2**64 - 1)),
    st.builds(m.Confirm, transcript_digest=_digests),
    st.builds(m.Abort, code=st.sampled_from(ErrorCode)),
    st.builds(m.Resume, nonce=_digests, received=st.integers(0, 2**64 - 1)),
    st.builds(m.Resumed, received=st.integers(0, 2**64 - 1)),
    st.builds(m.DurableAck, messages=st.integers(0, 2**64 - 1)),
)
_training_accepts = partial(
    st.builds,
    m.TrainingAccept,
    accept=_accepts,
    provider_dim=_positive,
    dataset_digest=_digests,
    window=_windows,
    space=_spaces,
)
training_messages: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(
        m.TrainingHello,
        hello=_hellos,
        client_dim=_positive,
        rows=_positive,
        dataset_digest=_digests,
        space_name=_offer_names,
    ),
    _training_accepts(total_squares=st.floats(0, allow_infinity=False)),
    _training_accepts(total_squares=st.just(0.0), privacy=_privacy_terms),
    st.builds(m.RowBatch, first=_u32, count=_positive, data=_payloads),
    st.builds(m.Finish),
    _chunks(m.ResultChunk),
    *_shared_messages,
)
inference_messages: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(
        m.InferenceHello,
        hello=_hellos,
        provider_dim=_positive,
        slots=_positive,
        space=_spaces,
        outputs=_outputs,
        head=_offer_names,
    ),
    _inference_accepts(),
    st.builds(m.Prepare, pool=_u32, nonce=_digests),
    *(_chunks(kind, pool=_u32) for kind in (m.PoolChunk, m.ChoicesChunk, m.TablesChunk)),
    st.builds(m.Query, pool=_u32, first_slot=_u32, count=_positive, data=_payloads),
    _chunks(m.Answer, pool=_u32, first_slot=_u32, count=_positive),
    *_shared_messages,
)
