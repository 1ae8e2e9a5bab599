"""Whether the answers that a provider allows let a client compute the head."""

from __future__ import annotations

from securealign.protocol.policy.rules import Rules


def sharing_warning(rules: Rules, dimension: int, answer_bits: int) -> str | None:
    """Return what to tell an operator whose head (d_A, K) follows from the answers allowed to one client, or None.

    `answer_bits` is what the K logits of one query hold under the suite.
    """
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
