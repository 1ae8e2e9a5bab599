"""How each registry's own client fetches one pinned file.

The clients know their registry, mirror, proxy and certificates from the user's configuration: this package names no
host.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from securealign.errors import AssetError
from securealign.lab.assets.registry import Download, Kind

_TAIL_LINES = 12
_WATCH_SECONDS = 5.0


class Command(NamedTuple):
    """A program with its arguments, run in a folder into which it leaves the file, with variables to set."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]


class Outcome(NamedTuple):
    """The exit status of a command and all it printed."""

    status: int
    output: str


Watch = Callable[[], None]
Runner = Callable[[Command, Watch], Outcome]

# pip asks the build backend of an sdist for its metadata before it saves the file, and no option turns that off: the
# default backend would run setup.py, after fetching setuptools unpinned. This backend takes its place (its folder is
# first on PYTHONPATH, build isolation is off) and answers with what is pinned, so that no code of the package runs.
_BACKEND = (resources.files(__package__) / "sdist_backend.txt").read_text(encoding="utf-8")


def run_command(command: Command, watch: Watch, *, interval: float = _WATCH_SECONDS) -> Outcome:
    """Run a command, calling `watch` every `interval` seconds; raises `AssetError` if the program does not exist."""
    try:
        process = subprocess.Popen(
            command.arguments,
            cwd=command.folder,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise AssetError(f"The program {command.arguments[0]!r} is not installed.", hint="Install it.") from error
    with process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    output, _ = process.communicate(timeout=interval)
                    return Outcome(process.returncode, output)
                watch()
        except BaseException:
            process.kill()
            raise


def download_command(download: Download, folder: Path) -> Command:
    """Return the command that leaves the file of `download` in `folder`, which exists and is empty."""
    if download.kind is Kind.NPM:
        arguments = ("npm", "pack", "--ignore-scripts", f"{download.package}@{download.version}")
        return Command(arguments, folder, {})
    if download.kind is Kind.DEBIAN:
        return Command(("apt-get", "download", f"{download.package}={download.version}"), folder, {})
    return _pip_command(download, folder)


def _pip_command(download: Download, folder: Path) -> Command:
    # Only a requirements file can carry a hash; with one, pip refuses other bytes before it looks into them.
    requirement = folder / "requirements.txt"
    requirement.write_text(
        f"{download.package}=={download.version} --hash=sha256:{download.sha256}\n", encoding="ascii"
    )
    options = ["--no-deps", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    # pip writes an unfinished download into its temporary folder, where its size shows the progress.
    environment = {"TMPDIR": str(folder)}
    if download.kind is Kind.SDIST:
        options += ["--no-binary=:all:", "--no-build-isolation", "--use-pep517", "--ignore-requires-python"]
        environment["PYTHONPATH"] = str(_write_backend(download, folder))
    else:
        options += ["--only-binary=:all:", *_wheel_target(download)]
    arguments = (sys.executable, "-m", "pip", "download", *options, "--require-hashes", "-r", str(requirement))
    return Command((*arguments, "-d", str(folder)), folder, environment)


def _wheel_target(download: Download) -> list[str]:
    # Only data is read from a wheel, so every interpreter asks for the same one, whatever it could import itself.
    if download.tag is None:
        return ["--python-version=3.11"]
    platform, version, abi = download.tag
    return [f"--platform={platform}", f"--python-version={version}", "--implementation=cp", f"--abi={abi}"]


def _write_backend(download: Download, folder: Path) -> Path:
    module = folder / "backend" / "setuptools" / "build_meta.py"
    module.parent.mkdir(parents=True)
    (module.parent / "__init__.py").touch()
    module.write_text(_BACKEND.format(package=download.package, version=download.version), encoding="utf-8")
    return module.parent.parent


def last_lines(output: str) -> str:
    """Return the end of what a command printed, for a message."""
    return "\n".join(output.strip().splitlines()[-_TAIL_LINES:])
