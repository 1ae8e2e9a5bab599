"""Version, suite, data set and sizes are settled in the handshake, and both parties learn why they are not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from support.entropy import SeededEntropy
from support.messages import DIGEST
from support.pair import PLAINTEXT, TOY_LWE, InferenceCase, TrainingCase

from securealign.errors import ConfigurationError, ErrorCode, SuiteError
from securealign.he.interface import SuiteInfo
from securealign.he.lwe.parameters import LWE_128
from securealign.he.lwe.suite import LweSuite
from securealign.he.plaintext import PlaintextSuite
from securealign.limits import Limits
from securealign.protocol import messages as m
from securealign.protocol import negotiation
from securealign.protocol.policy.rules import Policy

REAL = LweSuite(LWE_128)


@pytest.fixture(params=[TrainingCase(), InferenceCase()], ids=["training", "inference"])
def case(request):
    return request.param


@dataclass(frozen=True)
class Renamed(PlaintextSuite):
    """The plaintext suite with another description of itself."""

    name: str = "plaintext"
    parameter_set: str = "plaintext"
    digest: bytes = bytes(32)

    @property
    def info(self) -> SuiteInfo:
        return replace(super().info, name=self.name, parameter_set=self.parameter_set, parameter_digest=self.digest)


class Narrow(PlaintextSuite):
    """A suite that cannot hold any covariance."""

    def covariance_sizes(self, shape):
        raise SuiteError("The plan does not fit.", code=ErrorCode.PLAN_INFEASIBLE)


def opening(pair) -> m.TrainingHello | m.InferenceHello:
    pair.start()
    return pair.codec.decode(pair.up.popleft())


def acceptance(pair) -> m.TrainingAccept | m.InferenceAccept:
    pair.start()
    pair.deliver_up()
    return pair.codec.decode(pair.down.popleft())


def send_hello(pair, **changes) -> None:
    """Open the session with an altered hello and tell the client what the provider thinks of it."""
    message = opening(pair)
    pair.up.append(pair.codec.encode(replace(message, hello=replace(message.hello, **changes))))
    pair.carry()


def send_accept(pair, **changes) -> None:
    message = acceptance(pair)
    pair.down.append(pair.codec.encode(replace(message, accept=replace(message.accept, **changes))))
    pair.carry()


def test_a_client_of_other_versions_is_refused(case):
    pair = case.pair()
    send_hello(pair, versions=(7, 8))
    pair.assert_aborted(ErrorCode.VERSION_UNSUPPORTED, by="provider")


def test_a_newer_client_that_still_speaks_our_version_is_served_in_it(case):
    pair = case.pair()
    message = opening(pair)
    newer = replace(message, hello=replace(message.hello, versions=(4, 3)))
    (reply,) = pair.provider.receive(pair.codec.encode(newer))
    assert pair.codec.decode(reply).accept.version == 3


def test_a_provider_that_chooses_another_version_is_refused(case):
    pair = case.pair()
    send_accept(pair, version=4)
    pair.assert_aborted(ErrorCode.VERSION_UNSUPPORTED, by="client")


def test_parties_without_a_common_suite_part(case):
    pair = replace(case, suites=(PLAINTEXT,), provider_suites=(TOY_LWE,)).run_alone()
    pair.assert_aborted(ErrorCode.SUITE_UNKNOWN, by="provider")


def test_one_name_for_two_parameter_sets_is_noticed(case):
    pair = replace(case, suites=(PLAINTEXT,), provider_suites=(Renamed(),)).run_alone()
    pair.assert_aborted(ErrorCode.PARAMETERS_MISMATCH, by="provider")


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        (m.SuiteOffer(name="lwe", parameter_set="toy", parameter_digest=DIGEST), ErrorCode.SUITE_UNKNOWN),
        (
            m.SuiteOffer(name="plaintext", parameter_set="plaintext", parameter_digest=DIGEST),
            ErrorCode.PARAMETERS_MISMATCH,
        ),
    ],
)
def test_a_provider_that_chooses_what_was_not_offered_is_refused(case, offer, code):
    pair = case.pair()
    send_accept(pair, suite=offer)
    pair.assert_aborted(code, by="client")


@pytest.mark.parametrize("order", [(PLAINTEXT, TOY_LWE), (TOY_LWE, PLAINTEXT)])
def test_the_order_of_the_client_decides(case, order):
    pair = replace(case, suites=order, provider_suites=(PLAINTEXT, TOY_LWE)).pair()
    assert acceptance(pair).accept.suite.parameter_set == order[0].info.parameter_set


def test_a_suite_whose_parameters_differ_is_passed_over_for_one_that_fits(case):
    pair = replace(case, suites=(PLAINTEXT, TOY_LWE), provider_suites=(Renamed(), TOY_LWE)).pair()
    assert acceptance(pair).accept.suite.parameter_set == "toy"


def test_a_client_offers_no_plaintext_over_a_network(case):
    with pytest.raises(SuiteError, match="does not encrypt") as caught:
        replace(case, allow_unencrypted=False, suites=(REAL, PLAINTEXT)).pair()
    assert caught.value.code is ErrorCode.SUITE_REFUSED


@pytest.mark.parametrize("suite", [PLAINTEXT, TOY_LWE], ids=["plaintext", "toy"])
def test_a_provider_accepts_no_plaintext_over_a_network(case, suite):
    pair = replace(case, suites=(suite,), policy=Policy()).run_alone()
    pair.assert_aborted(ErrorCode.SUITE_REFUSED, by="provider")


def test_function_privacy_can_be_demanded(case):
    policy = Policy(allow_unencrypted=True, require_function_private=True)
    refused = replace(case, policy=policy).run_alone()
    refused.assert_aborted(ErrorCode.SUITE_REFUSED, by="provider")
    assert acceptance(replace(case, policy=policy, suites=(TOY_LWE,)).pair())


def test_the_real_suite_needs_no_permission():
    hello = negotiation.make_hello([REAL], SeededEntropy(b"client"), allow_unencrypted=False)
    policy = Policy(require_function_private=True)
    accept, chosen = negotiation.answer_hello(hello, [REAL], SeededEntropy(b"provider"), policy)
    assert chosen is REAL
    assert negotiation.check_accept(accept, [REAL]) is REAL


def test_neither_party_chooses_the_session_id_alone():
    ids = {negotiation.session_id(*parts) for parts in [("training", b"a", b"b"), ("inference", b"a", b"b")]}
    ids |= {negotiation.session_id("training", b"x", b"b"), negotiation.session_id("training", b"a", b"x")}
    assert len(ids) == 4


def test_different_public_texts_are_noticed_by_the_provider():
    pair = TrainingCase(provider_dataset=bytes(32)).finished()
    pair.assert_aborted(ErrorCode.DATASET_MISMATCH, by="provider")


def test_different_public_texts_are_noticed_by_the_client():
    pair = TrainingCase().pair()
    message = acceptance(pair)
    pair.down.append(pair.codec.encode(replace(message, dataset_digest=DIGEST)))
    pair.carry()
    pair.assert_aborted(ErrorCode.DATASET_MISMATCH, by="client")


@pytest.mark.parametrize("provider_rows", [11, 13])
def test_another_number_of_public_rows_is_another_data_set(provider_rows):
    pair = TrainingCase(provider_rows=provider_rows).finished()
    pair.assert_aborted(ErrorCode.DATASET_MISMATCH, by="provider")


@pytest.mark.parametrize(
    ("rows", "client_dim", "ratio"),
    [(5, 4, 1.0), (3, 4, 1.0), (5, 4, 0.0), (12, 4, 3.1)],
    ids=["N = d_B + 1", "N < d_B", "N = d_B + 1 under a lax policy", "below the policy's ratio"],
)
def test_too_few_public_rows_are_refused(rows, client_dim, ratio):
    policy = Policy(allow_unencrypted=True, min_rows_per_dimension=ratio)
    pair = TrainingCase(rows=rows, client_dim=client_dim, policy=policy).finished()
    pair.assert_aborted(ErrorCode.TOO_FEW_ROWS, by="provider")


@pytest.mark.parametrize(("rows", "ratio"), [(6, 1.0), (12, 3.0)])
def test_just_enough_public_rows_are_served(rows, ratio):
    policy = Policy(allow_unencrypted=True, min_rows_per_dimension=ratio)
    TrainingCase(rows=rows, policy=policy).finished().assert_done()


@pytest.mark.parametrize(
    ("case", "finder"),
    [
        (TrainingCase(limits=Limits(max_dimension=3)), "provider"),
        (TrainingCase(limits=Limits(max_rows=11)), "provider"),
        (TrainingCase(client_limits=Limits(max_dimension=2)), "client"),
        (InferenceCase(limits=Limits(max_pool_slots=3)), "provider"),
        (InferenceCase(client_limits=Limits(max_classes=1)), "client"),
    ],
    ids=["client's dimension", "rows", "provider's dimension", "slots", "classes"],
)
def test_sizes_beyond_a_limit_are_refused_in_the_handshake(case, finder):
    pair = case.run_alone()
    pair.assert_aborted(ErrorCode.LIMIT_EXCEEDED, by=finder)


def test_queries_of_another_dimension_than_the_head_are_refused():
    InferenceCase(client_features=5).opened().assert_aborted(ErrorCode.SHAPE_MISMATCH, by="provider")


def test_a_problem_that_the_suite_cannot_hold_is_refused_by_name():
    pair = TrainingCase(suites=(Narrow(),)).finished()
    pair.assert_aborted(ErrorCode.PLAN_INFEASIBLE, by="provider")


@pytest.mark.parametrize("published", [True, False])
def test_class_names_travel_only_if_published(published):
    policy = Policy(allow_unencrypted=True, publish_class_names=published)
    pair = InferenceCase(policy=policy).opened()
    assert pair.client.accepted.class_names == (("red", "green") if published else ())
    assert pair.client.accepted.classes == 2
    assert published == any(b"green" in carried.frame for carried in pair.carried)


def test_an_upload_window_is_the_smaller_of_both_parties_wishes(small_chunks):
    small_chunks(48)
    for client, provider, sent in ((2, 8, 2), (8, 3, 3)):
        pair = TrainingCase(limits=Limits(upload_window=provider), client_limits=Limits(upload_window=client)).pair()
        pair.start()
        pair.deliver_up()
        pair.deliver_down()
        assert len(pair.up) == sent


def test_a_pool_without_slots_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigurationError, match="0 slots"):
        InferenceCase(slots=0).pair()
