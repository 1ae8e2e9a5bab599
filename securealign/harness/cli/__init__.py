"""The commands of the harness, by name; each is imported when it is run."""

from securealign.cli.lazy import Command

COMMANDS = {
    "bench": Command(
        "securealign.harness.cli.bench:app",
        "Compare suites with each other and with the computation in clear.",
        extra="harness",
        panel="Measuring",
    ),
    "plan": Command(
        "securealign.harness.cli.plan:show",
        "Tell bytes, seconds, memory, precision, security and what leaks of a run, without running it.",
        extra="harness",
        panel="Measuring",
    ),
    "replay": Command(
        "securealign.harness.cli.replay:replay",
        "Check that recorded messages are what the protocol allows, and that both parties confirmed their digests.",
        extra="harness",
        panel="Measuring",
    ),
    "report": Command(
        "securealign.harness.cli.report:report",
        "Make a page of recorded runs: messages, time, bytes, accuracy, who saw what, and how runs compare.",
        extra="harness",
        panel="Measuring",
    ),
    "simulate": Command(
        "securealign.harness.cli.simulate:simulate",
        "Train and classify on synthetic embeddings, and print what it costs over a network, without one.",
        extra="harness",
        panel="Measuring",
    ),
}
