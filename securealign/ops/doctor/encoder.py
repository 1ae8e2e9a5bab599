"""Checks of a party's encoder, without opening it: that could download a model, or show texts to a vendor."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from securealign.errors import DependencyError, SecurealignError
from securealign.models.endpoint import Endpoint, check_reachable
from securealign.models.pretrained import check_device
from securealign.ops.doctor.findings import Finding, failed, fine, warning
from securealign.settings import EncoderChoice


def check_encoder(choice: EncoderChoice | None, *, private: bool) -> Iterator[Finding]:
    """Yield the findings about the encoder that a section names; `private` if it embeds private texts, too."""
    if choice is None:
        return
    if choice.at is not None:
        yield from _check_endpoint(choice.at, private=private)
    elif choice.encoder_name is not None:
        yield _check_installed(choice.encoder_name, choice.device)


def _check_installed(name: str, device: str) -> Finding:
    problem = _missing(name, ("tokenizers",) if name == "wordllama" else ("torch", "transformers"), extra="models")
    if problem is not None:
        return failed("encoder", problem)
    if device != "cpu":
        try:
            check_device(device)
        except SecurealignError as error:
            return failed("encoder", error)
    return fine("encoder", f"what {name!r} needs is installed")


def _check_endpoint(endpoint: Endpoint, *, private: bool) -> Iterator[Finding]:
    name = f"{endpoint.model} at {endpoint.host}"
    problem: SecurealignError | None = _missing(name, ("openai",), extra="endpoint")
    if problem is None:
        problem = _unusable(endpoint)
    if problem is not None:
        yield failed("encoder", problem)
        return
    key = "its key is set" if endpoint.api_key_env else "no key is sent"
    yield fine("encoder", f"{name} can be reached, {key}; neither a text nor the key was sent")
    if private:
        yield warning(
            "privacy",
            f"whoever runs {endpoint.host} sees the private texts in clear",
            "Embed them on this machine if that may not be: name a model in place of the endpoint.",
        )


def _unusable(endpoint: Endpoint) -> SecurealignError | None:
    try:
        _ = endpoint.key
        check_reachable(endpoint)
    except SecurealignError as error:
        return error
    return None


def _missing(name: str, packages: tuple[str, ...], *, extra: str) -> DependencyError | None:
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return None
    return DependencyError(
        f"The encoder {name!r} needs {' and '.join(missing)}, not installed here.",
        hint=f"Run: pip install 'securealign[{extra}]'",
    )
