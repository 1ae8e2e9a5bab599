"""The commands of the lab, by name; each is imported when it is run."""

from securealign.cli.lazy import Command

COMMANDS = {
    "chat": Command(
        "securealign.lab.cli.chat:chat",
        "Answer through a stitched pair: the source's body, a linear map, and the target's head.",
        extra="lab",
        panel="Experiments",
    ),
    "compat": Command(
        "securealign.lab.cli.compat:compat",
        "Tell whether two encoders are worth aligning, on a page: accuracy to expect, likeness, cost, and what to do.",
        extra="lab",
        panel="Experiments",
    ),
    "experiment": Command(
        "securealign.lab.cli.experiment:app",
        "Reproduce the paper's experiments, on its kind of data or on your own.",
        extra="lab",
        panel="Experiments",
    ),
}
