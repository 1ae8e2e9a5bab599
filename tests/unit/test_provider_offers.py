"""Several heads over several spaces: the file, who may ask what, and heads taken up again while a provider runs."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.peers import loaded_offers, random_head
from typer.testing import CliRunner

from securealign.alignment.head import LinearHead
from securealign.errors import ConfigurationError, ErrorCode, RemoteProtocolError
from securealign.he.registry import get_suite
from securealign.ops.audit import AuditLog
from securealign.ops.observability import Metrics
from securealign.pki.certificates import create_certificates
from securealign.provider import __main__ as program
from securealign.provider import loading, machines, reloading
from securealign.provider.config import ProviderSettings
from securealign.provider.loading import read_heads
from securealign.provider.machines import account_name, owner_of
from securealign.provider.offers import Offers
from securealign.provider.reloading import Reloads, Signals, ask_to_reload
from securealign.settings import load_settings
from securealign.storage.folder import StateFolder, lock_file
from securealign.transport.session_manager import Peer
from securealign.wire import decode_listing, encode_listing_request

FILE = """
[server]
certificates = "certs/provider"
[policy]
max_queries = 40
[spaces.news]
texts = "public.jsonl"
embeddings = "news.npy"
[spaces.mail]
texts = "public.jsonl"
embeddings = "mail.npy"
[heads.topics]
folder = "topics"
space = "news"
output = "label"
clients = ["acme"]
[heads.spam]
folder = "spam"
space = "mail"
max_queries = 3
max_answer_bits = 200
[heads.tone]
folder = "tone"
space = "news"
clients = ["acme", "birch"]
"""


@pytest.fixture
def site(tmp_path):
    random = np.random.default_rng(1)
    lines = (json.dumps({"text": f"public text {index}"}) + "\n" for index in range(60))
    (tmp_path / "public.jsonl").write_text("".join(lines), encoding="utf-8")
    np.save(tmp_path / "news.npy", random.normal(size=(60, 6)))
    np.save(tmp_path / "mail.npy", random.normal(size=(60, 4)))
    random_head(6, "abc").save_pretrained(tmp_path / "topics")
    random_head(6, "abcd").save_pretrained(tmp_path / "tone")
    random_head(4, ("ham", "spam")).save_pretrained(tmp_path / "spam")
    (tmp_path / "provider.toml").write_text(FILE, encoding="utf-8")
    return tmp_path


def settings_of(site, *overrides):
    return load_settings(ProviderSettings, site / "provider.toml", list(overrides))


@pytest.fixture
def offers(site):
    with loaded_offers(settings_of(site)) as offered:
        yield offered


def listed(offers, client, head=""):
    peer = Peer("here", loopback=True, identity=client)
    return decode_listing(offers.list(peer, encode_listing_request(head)))


def test_a_client_sees_the_heads_that_it_may_ask_and_all_spaces(offers):
    everything = listed(offers, "acme")
    assert [head.name for head in everything.heads] == ["topics", "spam", "tone"]
    assert [head.name for head in listed(offers, "birch").heads] == ["spam", "tone"]
    assert [head.name for head in listed(offers, "cedar").heads] == ["spam"]
    topics, spam, tone = everything.heads
    assert (topics.output.name, topics.queries_left, topics.bits_left, topics.answer_bits) == ("LABEL", 40, None, 2)
    assert (spam.output.name, spam.queries_left, spam.bits_left, spam.answer_bits) == ("LOGITS", 3, 200, 36)
    assert [(space.name, space.rows, space.provider_dim) for space in everything.spaces] == [
        ("news", 60, 6),
        ("mail", 60, 4),
    ]
    assert (topics.space, topics.space_name) == (everything.spaces[0].space, "news")
    assert everything.spaces[0].space != everything.spaces[1].space
    assert len({topics.head_digest, tone.head_digest, spam.head_digest}) == 3


def test_names_of_classes_are_told_of_one_head(offers):
    assert all(head.class_names == () for head in listed(offers, "acme").heads)
    (spam,) = listed(offers, "acme", "spam").heads
    assert spam.class_names == ("ham", "spam")
    assert listed(offers, "acme", "spam").spaces == ()


@pytest.mark.parametrize("name", ["topics", "unknown", ""])
def test_a_head_for_others_is_refused_like_one_that_does_not_exist(offers, name):
    with pytest.raises(RemoteProtocolError, match="spam, tone") as caught:
        offers._catalogue.head("birch", name)
    assert caught.value.code is ErrorCode.NOT_OFFERED


def test_a_client_with_one_head_need_not_name_it(offers):
    assert offers._catalogue.head("cedar", "").name == "spam"


def test_a_client_with_no_head_is_told_so(offers):
    offers._catalogue.heads = {name: head for name, head in offers._catalogue.heads.items() if head.clients}
    with pytest.raises(RemoteProtocolError, match="offered to it: none"):
        offers._catalogue.head("cedar", "spam")


def test_a_space_is_found_by_its_name_or_by_its_texts(offers):
    catalogue = offers._catalogue
    digest = catalogue.spaces["news"].public.digest
    assert catalogue.public("mail", digest)[0].name == "mail"
    with pytest.raises(RemoteProtocolError, match="names no space, and news, mail are made") as caught:
        catalogue.public("", digest)
    assert caught.value.code is ErrorCode.NOT_OFFERED
    with pytest.raises(RemoteProtocolError, match="no space 'other'"):
        catalogue.public("other", digest)
    with pytest.raises(RemoteProtocolError) as caught:
        catalogue.public("news", bytes(32))
    assert caught.value.code is ErrorCode.DATASET_MISMATCH


def test_nothing_is_offered_before_the_public_texts_are_embedded(site):
    settings = settings_of(site)
    state = settings.open_state(settings.state)
    try:
        offered = Offers(settings, state, [get_suite("lwe")], Metrics())
        for host in offered.hosts.values():
            with pytest.raises(RemoteProtocolError) as caught:
                host._make(Peer("here", loopback=True, identity="acme"), lambda event: None, {})
            assert caught.value.code is ErrorCode.STARTING
        with pytest.raises(RemoteProtocolError):
            listed(offered, "acme")
    finally:
        state.close()


@pytest.mark.parametrize(
    ("head", "client"),
    [
        ("default", "acme"),
        ("spam", "acme"),
        ("spam", "a of b"),
        ("default", "no head of this"),
        # Clients that are named like the accounts of others.
        ("default", "spam of acme"),
        ("default", "default of spam of acme"),
        ("default", "default of acme"),
    ],
)
def test_an_account_names_head_and_client(head, client):
    """No two pairs have one account: each can be read from its name."""
    assert owner_of(account_name(head, client)) == (head, client)


def test_a_client_that_is_named_like_an_account_is_charged_for_itself(site):
    """Both would have one account if that of the head "default" were the client's name, whatever it is."""
    settings = settings_of(site, "heads.default.folder=topics", "heads.default.space=news", "heads.topics.clients=[]")
    with loaded_offers(settings) as offers:
        other, like_it = "spam of acme", account_name("spam", "acme")
        assert like_it == other
        ledger = offers._ledgers["answers"].values
        ledger[f"{like_it}/queries"] = 2
        left = {head.name: head.queries_left for head in listed(offers, "acme").heads}
        assert left["spam"] == 1
        left = {head.name: head.queries_left for head in listed(offers, other).heads}
        assert (left["spam"], left["default"]) == (3, 40)


#: A second name for the weights of [heads.topics], which acme alone may ask.
TWIN = ["heads.twin.folder=topics", "heads.twin.space=news"]


@pytest.mark.parametrize("clients", [[], ['heads.twin.clients=["birch", "acme"]']], ids=["all", "two"])
def test_the_same_weights_under_two_names_are_refused(site, clients):
    """A client that may ask both would be given both budgets."""
    settings = settings_of(site, *TWIN, *clients)
    with pytest.raises(ConfigurationError, match="'topics' and 'twin' have the same weights") as caught:
        read_heads(settings)
    assert "heads.topics or heads.twin" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [['heads.twin.clients=["birch"]'], ["heads.twin.clients=[]"], ["heads.twin.folder=tone", "heads.tone.clients=[]"]],
    ids=["other client", "no client", "other weights"],
)
def test_heads_whose_budgets_no_client_has_twice_are_read(site, changes):
    assert "twin" in read_heads(settings_of(site, *TWIN, *changes))


def test_without_the_refusal_one_head_would_have_two_budgets(site, monkeypatch):
    monkeypatch.setattr(loading, "require_one_budget", lambda settings, heads: None)
    with loaded_offers(settings_of(site, *TWIN)) as offers:
        same = [head for head in listed(offers, "acme").heads if head.name in {"topics", "twin"}]
    assert len({head.head_digest for head in same}) == 1
    assert sum(head.queries_left for head in same) == 2 * 40


def answered(offers, client, asked=9):
    """Return how often a client is given the list before it is refused."""
    count = 0
    with suppress(RemoteProtocolError):
        while count < asked:
            listed(offers, client)
            count += 1
    return count


def test_a_client_asks_for_the_list_as_often_as_it_may(site, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(machines, "time", clock)
    with loaded_offers(settings_of(site, "policy.max_listings_per_minute=3")) as offers:
        # Each client has a rate of its own, which time fills again.
        assert [answered(offers, client) for client in ("acme", "birch", "acme")] == [3, 3, 0]
        clock.now += 20.0
        assert answered(offers, "acme") == 1
        with pytest.raises(RemoteProtocolError, match="max_listings_per_minute allows 3 in 60 s") as caught:
            listed(offers, "acme", "topics")
        assert caught.value.code is ErrorCode.RATE_LIMITED
        assert "in 20 s" in caught.value.hint
    # The control: under a higher rate the same is answered.
    with loaded_offers(settings_of(site, "policy.max_listings_per_minute=30")) as offers:
        assert [answered(offers, client) for client in ("acme", "birch", "acme")] == [9, 9, 9]


def test_the_old_form_offers_one_head(site):
    (site / "old.toml").write_text(
        '[server]\ncertificates = "c"\n[public]\ntexts = "public.jsonl"\nembeddings = "news.npy"\n'
        '[space]\nfolder = "kept"\n[head]\nfolder = "topics"\n',
        encoding="utf-8",
    )
    settings = load_settings(ProviderSettings, site / "old.toml", [])
    assert {name: str(space.folder) for name, space in settings.offered_spaces.items()} == {"default": "kept"}
    assert list(settings.offered_heads) == ["default"]
    assert settings.offered_heads["default"].rules(settings.policy).max_queries == 100_000


def test_what_another_output_excludes_is_not_taken_from_the_policy(site):
    settings = settings_of(site, "policy.output=label", "policy.abstain_below=1.0")
    heads = settings.offered_heads
    assert heads["topics"].rules(settings.policy).abstain_below == 1.0
    logits = settings_of(site, "policy.output=label", "policy.abstain_below=1.0", "heads.spam.output=logits")
    assert logits.offered_heads["spam"].rules(logits.policy).levels == ()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["heads.topics.space=nws"], r"unknown space 'nws': .* news, mail\. Did you mean 'news'\?"),
        (["public.texts=public.jsonl", "public.embeddings=news.npy"], r"give \[spaces.NAME\], or \[public\]"),
        (["head.folder=topics"], r"give \[heads.NAME\] or \[head\]"),
        (["heads.spam.abstain_below=1.0"], "heads.spam: abstain_below and confidence_thresholds belong to labels"),
        (["heads.spam.max_queries=0"], "greater than 0"),
        (["heads.Spam.folder=spam"], "a name has up to 64 of a to z"),
        (["heads.spam.max_querys=4"], "Did you mean 'max_queries'"),
        (["heads.other.folder=spam"], "heads.other needs a space, one of news, mail"),
        (["spaces.news.encoder=minilm"], "give one of encoder, endpoint and embeddings"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(site, overrides, reason):
    with pytest.raises(ConfigurationError, match=reason):
        settings_of(site, *overrides)


def test_a_head_of_another_space_is_refused(site):
    settings = settings_of(site, "heads.spam.space=news")
    expected = "'news' have 6 dimensions and the head 'spam' takes 4"
    with pytest.raises(ConfigurationError, match=expected), loaded_offers(settings):
        pytest.fail("offered")


@pytest.fixture
def running(site, offers):
    """What takes up the heads of the file again, as it is now with the overrides of `changes`."""
    changes = []
    reloads = Reloads(settings_of(site), site / "provider-state", lambda: settings_of(site, *changes), offers)
    return SimpleNamespace(reloads=reloads, changes=changes, note=site / "provider-state" / "reload.json")


def noted(running):
    return json.loads(running.note.read_bytes())


def test_changed_added_and_removed_heads_are_taken_up(site, offers, running):
    random_head(4, ("spam", "ham")).save_pretrained(site / "spam")
    random_head(4, "abc").save_pretrained(site / "more")
    text = FILE.replace("[heads.tone]", "[heads.mood]") + '\n[heads.more]\nfolder = "more"\nspace = "mail"\n'
    (site / "provider.toml").write_text(text, encoding="utf-8")
    running.changes.append("heads.topics.max_queries=9")
    running.reloads.reload()
    assert noted(running)["heads"] == [
        "mood: added",
        "more: added",
        "tone: removed",
        "topics: other rules or clients",
        "spam: changed, sessions on it end",
    ]
    assert noted(running)["waiting"] == []
    assert running.note.stat().st_mode & 0o777 == 0o600
    assert [head.name for head in listed(offers, "acme").heads] == ["topics", "spam", "mood", "more"]
    assert listed(offers, "acme").heads[0].queries_left == 9
    running.reloads.reload()
    assert set(noted(running)["heads"]) == {f"{name}: as before" for name in ("topics", "spam", "mood", "more")}


def test_a_head_whose_link_alone_is_another_is_changed(site, offers, running):
    head = LinearHead.from_pretrained(site / "topics")
    replace(head, link="ovr").save_pretrained(site / "topics")
    running.reloads.reload()
    assert noted(running)["heads"][0] == "topics: changed, sessions on it end"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["heads.spam.folder=nowhere"], "nowhere"),
        (["heads.spam.space=news"], "takes 4"),
        (["spaces.mail.embeddings=news.npy"], "takes a new start"),
        (["heads.tone.folder=topics"], "'topics' and 'tone' have the same weights"),
        (["heads.spam.output=noise"], "cannot be used"),
    ],
)
def test_heads_that_cannot_be_used_change_nothing(offers, running, changes, reason):
    before = listed(offers, "acme")
    running.changes.extend(changes)
    running.reloads.reload()
    assert reason in noted(running)["error"]
    assert listed(offers, "acme") == before


def test_neither_an_unreadable_head_nor_a_full_disk_ends_the_server(offers, running, monkeypatch):
    def unreadable(settings):
        raise PermissionError(13, "Permission denied", "head.safetensors")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reloading, "read_heads", unreadable)
    assert running.reloads.reload() == []
    assert "Permission denied" in noted(running)["error"]
    monkeypatch.setattr(reloading, "write_atomically", full)
    with capture_logs() as logs:
        running.reloads.reload()
    assert [entry["event"] for entry in logs] == ["heads not taken up again", "what was taken up cannot be noted"]


def test_sections_that_hold_for_the_process_are_named(running):
    running.changes.extend(["server.address=127.0.0.1:1", "policy.min_rows=7", "state.keep_days=3"])
    running.reloads.reload()
    assert noted(running)["waiting"] == ["server", "state", "policy"]


def test_the_command_waits_for_what_the_provider_notes(site, running, monkeypatch):
    state = site / "provider-state"
    monkeypatch.setattr(os, "kill", lambda pid, number: running.reloads.reload())
    with StateFolder(state, None).locked("provider"):
        assert ask_to_reload(state)["heads"]
        running.changes.append("heads.spam.folder=nowhere")
        with pytest.raises(ConfigurationError, match="goes on with the heads that it has"):
            ask_to_reload(state)
        monkeypatch.setattr(os, "kill", lambda pid, number: None)
        with pytest.raises(Exception, match="did not answer within 0 seconds"):
            ask_to_reload(state, seconds=0)


def test_a_process_number_of_an_earlier_provider_gets_no_signal(site, running, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("signalled a stranger"))
    with pytest.raises(ConfigurationError, match="No provider serves"):
        ask_to_reload(site / "provider-state")
    with pytest.raises(ConfigurationError, match="No provider serves"):
        ask_to_reload(site / "elsewhere")
    assert lock_file(site, "provider").name != lock_file(site, "client").name


def test_signals_tell_to_reload_and_to_stop(monkeypatch):
    before = signal.getsignal(signal.SIGHUP)
    others = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(reloading, "_EXPIRY_SECONDS", 0.001)
    with Signals() as told:
        events = iter(told)
        # Once at the start, and whenever time has passed.
        assert [next(events), next(events)] == [False, False]
        os.kill(os.getpid(), signal.SIGHUP)
        assert True in (next(events) for _ in range(100_000))
        os.kill(os.getpid(), signal.SIGTERM)
        assert not any(events)
    assert signal.getsignal(signal.SIGHUP) is before
    for number, handler in zip((signal.SIGINT, signal.SIGTERM), others, strict=True):
        signal.signal(number, handler)


def test_the_operator_sees_heads_and_clients(site, offers):
    ledger = offers._ledgers["answers"]
    with offers._state.folder.database.transaction() as connection:
        rows = [("acme/queries", 4), ("acme/bits", 8), ("spam of birch/queries", 3), ("spam of birch/bits", 108)]
        connection.executemany("INSERT INTO counter VALUES ('answers', ?, ?)", rows)
    assert ledger.kind == "answers"
    with AuditLog(site / "provider-state" / "audit.log") as log:
        log.append("session opened", identity="birch", phase="inference")
        log.append("stream refused", identity="cedar", rule="NOT_OFFERED")
        log.append("session opened", identity="cedar", phase="training")
    config = ["--config", str(site / "provider.toml")]
    heads = CliRunner().invoke(program.app, ["heads", *config, "--json"])
    assert [(row["head"], row["output"], row["clients"]) for row in json.loads(heads.stdout)] == [
        ("topics", "label", ["acme"]),
        ("spam", "logits", None),
        ("tone", "logits", ["acme", "birch"]),
    ]
    clients = json.loads(CliRunner().invoke(program.app, ["clients", *config, "--json"]).stdout)
    assert [(row["client"], row["refused"], bool(row["last_seen"])) for row in clients] == [
        ("acme", 0, False),
        ("birch", 0, True),
        ("cedar", 1, True),
    ]
    spam = {"head": "spam", "queries": 3, "queries_left": 0, "bits": 108, "bits_left": 92}
    # A head that the file no longer has allows nothing more.
    gone = {"head": "default", "queries": 4, "queries_left": 0, "bits": 8, "bits_left": None}
    assert [row["given"] for row in clients] == [[gone], [spam], []]
    for command in ("heads", "clients"):
        shown = CliRunner().invoke(program.app, [command, *config])
        assert shown.exit_code == 0, shown.output
        assert "birch" in shown.stdout


def test_options_without_a_command_serve(site, monkeypatch):
    create_certificates(site / "certs", days=1)
    monkeypatch.setattr(program, "configure_logs", lambda **_: None)
    served = []
    monkeypatch.setattr(program.Provider, "serve", lambda self: served.append(self))  # noqa: PLW0108 - a method
    arguments = ["--config", str(site / "provider.toml"), "--quiet"]
    for command in ([], ["serve"]):
        assert CliRunner().invoke(program.app, [*command, *arguments]).exit_code == 0
    assert len(served) == 2
    assert "clients" in CliRunner().invoke(program.app, ["--help"]).stdout
