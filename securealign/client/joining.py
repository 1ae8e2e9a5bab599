"""The client's side of pairing: the folder that an invitation makes, and the certificate that completes it."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from securealign.data.digest import dataset_digest
from securealign.data.public import load_public
from securealign.errors import ConfigurationError, ErrorCode, InputError, SuiteError
from securealign.files import write_atomically, write_new
from securealign.he.registry import get_suite
from securealign.pki.authority import private_pem
from securealign.pki.bundles import Bundle, check_bundle
from securealign.pki.chains import is_issued_by
from securealign.pki.identity import Role, identity_of_certificate
from securealign.pki.invitations import Invitation, check_authority
from securealign.pki.requests import make_request
from securealign.pki.revocation import parse_lists
from securealign.transport.preflight import split_target

CONFIGURATION = "client.toml"
CERTIFICATES = "certs"
TEXTS = "public.jsonl"

_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the client decides itself: its encoder or a file of embeddings, and where the public texts are."""

    encoder: str | None = None
    embeddings: Path | None = None
    texts: Path | None = None


def join_provider(
    invitation: Invitation, folder: Path, choices: Choices, example: str, *, now: dt.datetime
) -> tuple[list[Path], ec.EllipticCurvePublicKey]:
    """Write a client's folder and return its files and the public key; `example` is a configuration with comments.

    The private key is made here, unless the invitation holds one. Raises `InputError` or `ConfigurationError`, and
    leaves nothing behind, for an invitation that has expired or cannot be used, public texts other than the provider's,
    and where a file exists that would be written.
    """
    invitation.require_current(now)
    check_authority(invitation, now)
    texts = _texts(invitation, choices)
    content: dict[str, tuple[bytes, int]] = {
        CONFIGURATION: (configuration(example, invitation, choices).encode(), 0o644),
        f"{CERTIFICATES}/ca.pem": (invitation.authority.encode(), 0o644),
        f"{CERTIFICATES}/crl.pem": (invitation.revocations.encode(), 0o644),
    }
    if texts is not None:
        content[TEXTS] = (texts, 0o644)
    if invitation.key is not None:
        key, certificate = _private_key(invitation.key.encode()), (invitation.certificate or "").encode()
        authority, lists = invitation.authority.encode(), invitation.revocations.encode()
        bundle = Bundle(authority, certificate, private_pem(key), Role.CLIENT, lists)
        check_bundle(bundle, folder / CERTIFICATES, now=now)
        content[f"{CERTIFICATES}/cert.pem"] = (certificate, 0o644)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        content[f"{invitation.name}.request"] = (make_request(invitation, key), 0o644)
    content[f"{CERTIFICATES}/key.pem"] = (private_pem(key), 0o600)
    return _write_folder(folder, content), key.public_key()


def complete(folder: Path, data: bytes, *, now: dt.datetime) -> Path:
    """Put the certificate that the provider has signed into a client's folder, and return its file.

    `data` is the file of 'securealign certs sign'. Raises `InputError` for a folder that awaits no certificate, and a
    certificate that is broken, of another authority or for another key.
    """
    bundle = folder / CERTIFICATES
    if (bundle / "cert.pem").exists():
        raise InputError(
            f"{bundle} has a certificate already.",
            hint="Nothing is left to do here. For a new certificate, join a new invitation into another folder.",
            code=ErrorCode.FILE_INVALID,
        )
    if not ((bundle / "key.pem").exists() and (bundle / "ca.pem").exists()):
        raise InputError(
            f"{folder} is no folder that has joined a provider.",
            hint="Run this in the folder that 'securealign join INVITATION' made, or name it with --folder.",
            code=ErrorCode.FILE_INVALID,
        )
    authority, private = (bundle / "ca.pem").read_bytes(), (bundle / "key.pem").read_bytes()
    anchors, certificates = x509.load_pem_x509_certificates(authority), _certificates(data)
    chain = [item for item in certificates if item not in anchors]
    if not any(is_issued_by(item, anchor) for item in chain for anchor in anchors):
        raise InputError(
            "The certificate is of another authority than the invitation.",
            hint=f"Ask the provider's operator for the certificate of the request in {folder}, and compare the "
            "fingerprint of the authority.",
            code=ErrorCode.PEER_UNTRUSTED,
        )
    if _private_key(private).public_key() != chain[0].public_key():
        raise InputError(
            f"The certificate is for another key than {bundle / 'key.pem'}.",
            hint=f"Have the provider sign the request in {folder}, or name the folder with --folder.",
            code=ErrorCode.FILE_INVALID,
        )
    shown = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in chain)
    known, given = (bundle / "crl.pem").read_bytes(), b"".join(_LIST.findall(data))
    check_bundle(Bundle(authority, shown, private, Role.CLIENT, given or known), bundle, now=now)
    # An older list in the place of a newer one would undo revocations.
    if _age(known) < _age(given):
        write_atomically(bundle / "crl.pem", given)
    # The certificate last: with it the folder is complete.
    write_new(bundle / "cert.pem", shown)
    return bundle / "cert.pem"


def _age(lists: bytes) -> dt.datetime:
    """Return when the newest of some lists of revoked certificates was made."""
    never = dt.datetime.min.replace(tzinfo=dt.timezone.utc)
    return max((item.last_update_utc for item in parse_lists(lists)), default=never)


def name_in(data: bytes) -> str:
    """Return for whom the file of 'securealign certs sign' is; raises `InputError` for another file."""
    return identity_of_certificate(_certificates(data)[0]).name


def configuration(example: str, invitation: Invitation, choices: Choices) -> str:
    """Return the example of a client's configuration with what the invitation says, and what the client has chosen."""
    split_target(invitation.address)
    about = f"# Made by an invitation of the provider at {invitation.address}, for {invitation.name}.\n"
    text = _set(example, "provider", "address", _quoted(invitation.address))
    text = _set(text, "provider", "certificates", _quoted(CERTIFICATES))
    text = _set(text, "provider", "suites", f"[{', '.join(map(_quoted, _usable(invitation.suites)))}]")
    comment = ""
    if invitation.digest is not None:
        comment = f"# The provider's: {invitation.rows} texts, digest {invitation.digest} (securealign data digest)."
    texts = TEXTS if choices.texts is None else str(choices.texts.absolute())
    text = _set(text, "public", "texts", _quoted(texts), comment)
    if choices.embeddings is not None:
        text = _set(text, "public", "embeddings", _quoted(str(choices.embeddings.absolute())))
        text = _section(text, "encoder", lambda body: re.sub(r"(?m)^(?=[^#\n])", "# ", body))
    elif choices.encoder is not None:
        local = Path(choices.encoder)
        text = _set(text, "encoder", "name", _quoted(str(local.absolute()) if local.exists() else choices.encoder))
    else:
        known = re.search(r"(?ms)^\[encoder\].*?^(name = .*?)$", text)
        text = _set(text, "encoder", "name", (known[1] if known else "").removeprefix("name = "), _CHOOSE)
    return about + text


_CHOOSE = "# TO CHOOSE: this is an example. Name your own encoder, the one that suits your texts."


def _usable(suites: Sequence[str]) -> list[str]:
    """Return the suites of an invitation that this release has and that encrypt."""
    usable = [name for name in suites if _encrypts(name)]
    if not usable:
        raise ConfigurationError(
            "The invitation names no suite that encrypts and can run here.",
            hint="See what can run: 'securealign suites'. The provider's are policy.suites of its configuration.",
        )
    return usable


def _encrypts(suite: str) -> bool:
    try:
        return get_suite(suite).info.encrypts
    except SuiteError:
        return False


def _texts(invitation: Invitation, choices: Choices) -> bytes | None:
    """Return the file of public texts that the invitation holds; raises `InputError` for texts of another digest."""
    if choices.texts is not None:
        found = load_public(str(choices.texts)).digest.hex()
    elif invitation.texts is not None:
        found = dataset_digest(invitation.texts).hex()
    else:
        return None
    if found != invitation.digest:
        raise InputError(
            "The public texts are not those of the provider, or stand in another order.",
            hint="Ask the provider's operator for the file, or for an invitation made with --with-texts.",
            code=ErrorCode.DATASET_MISMATCH,
        )
    if choices.texts is not None or invitation.texts is None:
        return None
    return "".join(json.dumps({"text": text}) + "\n" for text in invitation.texts).encode()


def _write_folder(folder: Path, content: dict[str, tuple[bytes, int]]) -> list[Path]:
    """Write files into a draft beside the folder, and move it, or what is in it, into its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for name in content:
        top = folder / Path(name).parts[0]
        if top.exists() or top.is_symlink():
            raise InputError(
                f"{top} already exists and is not replaced.",
                hint="Name another folder with --folder, or move it away.",
                code=ErrorCode.FILE_INVALID,
            )
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, (data, mode) in content.items():
            (draft / name).parent.mkdir(mode=0o700, exist_ok=True)
            write_new(draft / name, data, mode=mode)
        if not folder.exists():
            draft.rename(folder)
        else:
            _move_into(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [folder / name for name in content]


def _move_into(draft: Path, folder: Path) -> None:
    moved: list[Path] = []
    try:
        for source in sorted(draft.iterdir()):
            target = folder / source.name
            # Neither replaces what has appeared meanwhile.
            if source.is_dir():
                source.rename(target)
            else:
                target.hardlink_to(source)
            moved.append(target)
    except BaseException:
        for target in moved:
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()
        raise


def _certificates(data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise InputError(
            "The file holds no certificate in PEM.",
            hint="Name the file that 'securealign certs sign' wrote, as it was sent.",
            code=ErrorCode.FILE_INVALID,
        ) from error


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(
            "The private key is not one that 'securealign join' or 'securealign invite' has made.",
            hint="Ask the provider's operator for a new invitation.",
            code=ErrorCode.FILE_INVALID,
        )
    return key


def _section(text: str, name: str, change: Callable[[str], str]) -> str:
    """Return a configuration in which the lines of a section, up to the next one, are changed."""
    start = re.search(rf"(?m)^\[{name}\]$", text)
    if start is None:
        raise LookupError(f"the example has no section [{name}]")
    following = re.compile(r"(?m)^\[").search(text, start.end())
    end = len(text) if following is None else following.start()
    return text[: start.start()] + change(text[start.start() : end]) + text[end:]


def _set(text: str, section: str, name: str, value: str, comment: str = "") -> str:
    """Return a configuration in which a value of a section, or its example in a comment, is replaced."""

    def change(body: str) -> str:
        line = f"{comment}\n{name} = {value}" if comment else f"{name} = {value}"
        changed, count = re.subn(rf"(?m)^(# )?{name} = .*$", lambda _found: line, body, count=1)
        if not count:
            raise LookupError(f"the example has no {section}.{name}")
        return changed

    return _section(text, section, change)


def _quoted(text: str) -> str:
    """Return a string as TOML writes it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
