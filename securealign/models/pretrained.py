"""How every model folder is loaded: quietly, without pickles, with the libraries' errors as ours."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from securealign.errors import ConfigurationError, DependencyError, ErrorCode, InputError, SecurealignError
from securealign.models.quiet import quiet
from securealign.optional import require

_PICKLES = ("pytorch_model*.bin", "adapter_model.bin")
NO_WEIGHTS = "holds no config.json with safetensors weights"
CONVERT = "Give a model folder; weights in torch's pickle format must be converted to safetensors first."
_OWN_WAY = "Compute the embeddings with the model's own library and give them as an .npy file"
_loads = threading.Lock()


@contextmanager
def loading(folder: Path, *, purpose: str, role: str = "") -> Iterator[list[str]]:
    """Load models with transformers in the block, and yield a list that receives the names of weights that are missing.

    transformers gives those random values and only logs it. `role` stands between the folder's name and "cannot be
    loaded" in messages. Raises `InputError` for pickled weights and for whatever a library raises, `DependencyError`
    for a package that is not installed.
    """
    transformers = require("transformers", purpose)
    _use_no_compiled_kernels(require("torch", purpose))
    for pattern in _PICKLES:
        for file in folder.rglob(pattern):
            if not any(file.parent.glob("*.safetensors")):
                raise unusable(f"{file.parent} {role}{NO_WEIGHTS}", CONVERT)
    missing: list[str] = []
    try:
        with _loads, quiet(), _reported(transformers.PreTrainedModel, missing):
            yield missing
    except (SecurealignError, MemoryError):
        raise
    except ImportError as error:
        raise DependencyError(
            f"{folder} needs a package that is not installed: {first_line(error)}",
            hint=f"Run: pip install {error.name}" if error.name else "Install the package that the message names.",
        ) from error
    except Exception as error:  # tokenizers raises nothing more special
        code = "trust_remote_code" in str(error)
        raise unusable(
            f"{folder} {role}cannot be loaded: {first_line(error)}",
            f"{_OWN_WAY}, or trust its code: open_encoder(..., trust_remote_code=True)."
            if code
            else "Check that the download is complete.",
        ) from error


def _use_no_compiled_kernels(torch: Any) -> None:  # noqa: ANN401 - torch is optional
    """Let torch compute without oneDNN where this process may not run code that it makes.

    oneDNN compiles its kernels when they are first used, which MemoryDenyWriteExecute= of systemd forbids.
    """
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        torch.backends.mkldnn.set_flags(False)


@contextmanager
def _reported(kind: Any, missing: list[str]) -> Iterator[None]:  # noqa: ANN401 - transformers is optional
    """Have every `from_pretrained` of transformers tell which weights it did not find."""
    plain = kind.__dict__["from_pretrained"]

    def from_pretrained(cls: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if options.get("output_loading_info"):
            return plain.__func__(cls, *args, **options)
        model, report = plain.__func__(cls, *args, **{**options, "output_loading_info": True})
        missing.extend(sorted(report["missing_keys"]))
        return model

    kind.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        kind.from_pretrained = plain


def check_device(device: str) -> None:
    """Raise `ConfigurationError` unless torch can use the device on this machine, before a model is read."""
    try:
        require("torch", "An encoder").empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"The device {device!r} cannot be used: {first_line(error)}.", hint="Use cpu, or cuda with its driver."
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or the name of its class."""
    if isinstance(error, KeyError):
        return f"a file lacks the entry {error}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def unusable(message: str, hint: str) -> InputError:
    """Return the error for a model folder that cannot be used."""
    return InputError(f"{message}.", hint=hint, code=ErrorCode.FILE_INVALID)
