"""The commands of the harness, by name; each is imported when it is run."""

from securealign.cli.lazy import Command

#: What runs each command, and its line in the list of commands.
_COMMANDS = {
    "bench": ("bench:app", "Compare suites with each other and with the computation in clear."),
    "plan": (
        "plan:show",
        "Tell bytes, seconds, memory, precision, security and what leaks of a run, without running it.",
    ),
    "replay": (
        "report:replay",
        "Check that recorded messages are what the protocol allows, and that both parties confirmed their digests.",
    ),
    "report": (
        "report:report",
        "Make a page of recorded runs: messages, time, bytes, accuracy, who saw what, and how runs compare.",
    ),
    "simulate": (
        "simulate:simulate",
        "Train and classify on synthetic embeddings, and print what it costs over a network, without one.",
    ),
}
COMMANDS = {
    name: Command(f"securealign.harness.cli.{target}", line, extra="harness", panel="Measuring")
    for name, (target, line) in _COMMANDS.items()
}
