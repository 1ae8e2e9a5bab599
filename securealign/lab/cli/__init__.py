"""The commands of the lab, by name; each is imported when it is run."""

from securealign.cli.lazy import Command

#: What runs each command, and its line in the list of commands.
_COMMANDS = {
    "chat": ("chat:chat", "Answer through a stitched pair: the source's body, a linear map, and the target's head."),
    "compat": (
        "compat:compat",
        "Tell whether two encoders are worth aligning, on a page: accuracy to expect, likeness, cost, and what to do.",
    ),
    "experiment": ("experiment:app", "Reproduce the paper's experiments, on its kind of data or on your own."),
}
COMMANDS = {
    name: Command(f"securealign.lab.cli.{target}", line, extra="lab", panel="Experiments")
    for name, (target, line) in _COMMANDS.items()
}
