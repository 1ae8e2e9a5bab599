"""Commands that a document has its readers type, and what it says of each, run in a folder for each party."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import securealign
from securealign.errors import ErrorCode

from .sites import provider_process

ROOT = Path(securealign.__file__).parents[1]
_LINE = re.compile(r"    (provider|client)\$ +(.*?)(?: {2,}# *(.*))?$")
_CODES = "|".join(code.name for code in ErrorCode)
#: The programs as they are called in the environment of the tests, in the order in which they are replaced.
_PROGRAMS = {
    "securealign-client": f"{sys.executable} -m securealign.client",
    "securealign-provider": f"{sys.executable} -m securealign.provider",
    "securealign ": f"{sys.executable} -m securealign ",
}


class Line(NamedTuple):
    """A command, the party that types it, and the comment behind it."""

    party: str
    command: str
    comment: str


def lines_of(document: str, section: str = "") -> list[Line]:
    """Return the commands of a document of the repository, or of one of its sections; none outside of a checkout."""
    file = ROOT / document
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = map(_LINE.match, text.splitlines())
    return [Line(match[1], match[2], match[3] or "") for match in found if match]


@dataclass
class Site:
    """The folders of both parties, what stands in for words of the document, and the provider as a service.

    Use as a context manager, which ends the service.
    """

    folders: dict[str, Path]
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    #: What the provider said when it began to listen last.
    listening: dict[str, object] = field(default_factory=dict)

    def __enter__(self) -> Site:
        self._service = ExitStack()
        return self

    def __exit__(self, *unused: object) -> None:
        self._service.close()

    def start(self) -> None:
        """Start the provider and wait until it listens; it keeps the port of its first start."""
        config = self.folders["provider"] / "provider.toml"
        self._process, self.listening = self._service.enter_context(provider_process(config))
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{self.listening['port']}"), encoding="utf-8")

    def stop(self) -> None:
        """Stop the provider as systemd does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=600)
        self._service.close()

    def run(self, line: Line) -> str:
        """Run a line and return what it says, after checking it against the comment.

        An error code there is the error that the command ends with; without one it succeeds. Text between quotation
        marks is in what it says.
        """
        party, command, comment = line
        service = re.fullmatch(r"systemctl (stop|start|restart) securealign-provider", command)
        if service is not None:
            for step in {"restart": ("stop", "start")}.get(service[1], (service[1],)):
                getattr(self, step)()
            return ""
        copied = re.fullmatch(r"scp (\S+) (provider|client):(\S*)", command)
        if copied is not None:
            shutil.copy(self.folders[party] / copied[1], self.folders[copied[2]] / copied[3])
            return ""
        done = self._run(party, command)
        said = done.stdout + done.stderr
        codes = re.findall(rf"\b(?:{_CODES})\b", comment)
        assert done.returncode == (ErrorCode[codes[0]].exit_code if codes else 0), (line, said)
        for words in (*codes, *re.findall('"([^"]+)"', comment)):
            assert words in said, (line, said)
        return said

    def run_all(self, lines: Sequence[Line]) -> list[str]:
        """Run lines and return what each says."""
        return [self.run(line) for line in lines]

    def _run(self, party: str, command: str) -> subprocess.CompletedProcess[str]:
        for words, stand_in in (*self.stand_ins.items(), *_PROGRAMS.items()):
            command = command.replace(words, stand_in)
        return subprocess.run(
            ["bash", "-ec", command],
            cwd=self.folders[party],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
