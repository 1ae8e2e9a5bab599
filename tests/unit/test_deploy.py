"""What is deployed has no privileges it does not need, and names files and settings that exist."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import securealign
from securealign.errors import ErrorCode, ExitCode
from securealign.ops.observability import Metrics

ROOT = Path(securealign.__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = [DEPLOY / f"securealign-{party}.service" for party in ("provider", "client")]


if not DEPLOY.exists():
    pytest.skip("only the repository has the files for deployment", allow_module_level=True)


def settings_of(unit):
    """Return the settings of a unit: each may stand several times."""

    class Repeated(dict):
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                value = [*self[key], *value]
            super().__setitem__(key, value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Repeated, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(unit)
    return {name: value.split("\n") for section in parser.sections() for name, value in parser.items(section)}


@pytest.fixture(scope="module", params=UNITS, ids=lambda path: path.stem)
def unit(request):
    return settings_of(request.param.read_text(encoding="utf-8"))


HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "LimitCORE": "0",
    "MemorySwapMax": "0",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
    "Restart": "on-failure",
}


@pytest.mark.parametrize("name", HARDENING)
def test_the_service_is_confined(unit, name):
    assert unit[name] == [HARDENING[name]]


@pytest.mark.parametrize("name", ["LimitNOFILE", "MemoryMax", "TasksMax"])
def test_the_service_has_limits(unit, name):
    assert re.fullmatch(r"[1-9][0-9]*G?", unit[name][0])


def test_the_passphrase_is_a_credential_and_in_no_environment(unit):
    (credential,) = unit["LoadCredential"]
    assert re.fullmatch("passphrase:/etc/securealign(-client)?/passphrase", credential)
    assert all(value.endswith(("=file", "=%d/passphrase")) for value in unit["Environment"] if "PASS" in value)


def test_a_mistake_of_the_operator_is_not_tried_again(unit):
    hopeless = {ExitCode.USAGE, ExitCode.INPUT, ExitCode.UNAVAILABLE}
    assert {int(code) for code in unit["RestartPreventExitStatus"][0].split()} == hopeless


def verified(text, folder):
    """Return what systemd says of a unit whose program exists."""
    file = folder / "checked.service"
    file.write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", text), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if file.name in line)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_understands_every_line(path, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    text = path.read_text(encoding="utf-8")
    assert verified(text, tmp_path) == ""
    assert "NoNewPrivilege" in verified(text.replace("NoNewPrivileges", "NoNewPrivilege"), tmp_path)


def test_the_user_of_the_service_is_made_by_sysusers(unit):
    made = (DEPLOY / "securealign.sysusers.conf").read_text(encoding="utf-8").splitlines()[1:]
    assert ["u", *unit["User"]] in [line.split()[:2] for line in made]
    assert unit["User"] == unit["Group"]


@pytest.fixture(scope="module")
def containerfile():
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", "")
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_is_made_of_the_wheel_and_the_pinned_versions(containerfile):
    copied = {
        name
        for instruction, rest in containerfile
        if instruction == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == {"constraints.txt", "dist/*.whl"}
    assert (ROOT / "constraints.txt").exists()


def test_the_image_runs_as_a_numbered_user_without_a_shell(containerfile):
    instructions = dict(containerfile)
    assert re.fullmatch(r"[1-9][0-9]+:[1-9][0-9]+", instructions["USER"])
    assert instructions["ENTRYPOINT"].startswith("[")
    assert instructions["CMD"].startswith("[")
    assert "CMD [" in re.sub(" +", " ", instructions["HEALTHCHECK"])
    last = max(number for number, (name, _) in enumerate(containerfile) if name == "FROM")
    assert not [rest for name, rest in containerfile[last:] if name in {"RUN", "ADD"}]


def test_images_come_by_their_plain_name(containerfile):
    froms = [rest.split() for name, rest in containerfile if name == "FROM"]
    stages = {words[-1] for words in froms}
    assert {words[0] for words in froms} - stages == {"python:3.12-slim"}
    assert stages == {"build", "program", "client", "service", "provider"}


@pytest.fixture(scope="module")
def compose():
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_the_container_is_confined(compose, containerfile):
    provider = compose["services"]["provider"]
    assert provider["read_only"] is True
    assert provider["cap_drop"] == ["ALL"]
    assert provider["security_opt"] == ["no-new-privileges:true"]
    assert provider["ulimits"]["core"] == 0
    assert provider["ulimits"]["nofile"] > 0
    assert provider["mem_limit"] == provider["memswap_limit"]
    assert provider["user"] == dict(containerfile)["USER"]
    assert all("noexec" in mount for mount in provider["tmpfs"])
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"} & set(provider)
    assert "./config:/etc/securealign:ro" in provider["volumes"]


def test_the_service_is_as_confined_and_published_on_this_machine_alone(compose, containerfile):
    service, provider = (compose["services"][name] for name in ("service", "provider"))
    own = {"profiles", "build", "image", "environment", "secrets", "volumes", "ports", "stop_grace_period"}
    assert {name: value for name, value in service.items() if name not in own} == {
        name: value for name, value in provider.items() if name not in own
    }
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert set(service["secrets"]) == {"client-passphrase", "token"}
    command = next(rest for name, rest in containerfile if name == "CMD" and "0.0.0.0:8080" in rest)
    assert "/run/secrets/token" in command


def test_the_containers_passphrase_is_a_secret(compose):
    provider = compose["services"]["provider"]
    assert provider["secrets"] == ["passphrase"]
    assert provider["environment"]["SECUREALIGN_PROVIDER__STATE__PASSPHRASE__FILE"] == "/run/secrets/passphrase"


def test_the_container_is_built_from_the_containerfile(compose):
    build = compose["services"]["provider"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Containerfile"


def test_alerts_ask_for_metrics_and_rules_that_exist():
    yaml = pytest.importorskip("yaml")
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    metrics = Metrics()
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    names |= {f"{family.name}_total" for family in metrics.registry.collect() if family.type == "counter"}
    names |= {family.name for family in metrics.registry.collect()}
    codes = {code.name for code in ErrorCode}
    assert len(rules) > 5
    for rule in rules:
        assert set(re.findall(r"\b(?:securealign|process)_[a-z_]+", rule["expr"])) <= names
        assert set(re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", rule["expr"])) <= codes


def test_every_alert_is_explained():
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    assert [alert for alert in alerts if f"`{alert}`" not in operations] == []
