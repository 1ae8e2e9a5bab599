"""Whether the answers that a provider allows let a client compute the head."""

from collections.abc import Sequence

from securealign.he.interface import Suite
from securealign.protocol.policy.rules import Rules


def sharing_warning(rules: Rules, dimension: int, classes: int, suites: Sequence[Suite]) -> str | None:
    """Return what to tell an operator whose head (d_A, K) follows from the answers allowed to one client, or None.

    Answers are counted under the suite whose answers hold the least. Raises `SuiteError` when a suite cannot hold the
    head.
    """
    shape = rules.head_shape(dimension, classes, 1)
    answer_bits = min(suite.head_sizes(shape).answer_bits for suite in suites)
    queries = dimension + 1
    bits = queries * answer_bits
    bounded = rules.max_answer_bits is not None and rules.max_answer_bits < bits
    if rules.output == "label" or rules.max_queries < queries or bounded:
        return None
    return (
        f"The head is shared with every client that asks for it: {queries:,} answers in logits determine it, and "
        f'max_queries = {rules.max_queries:,} allows them. To keep it, set output = "label", max_queries below '
        f"{queries:,}, or max_answer_bits below {bits:,}."
    )
