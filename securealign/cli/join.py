"""securealign join: answer an invitation, and take the certificate that the provider has signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from securealign.cli.init import shipped
from securealign.cli.passphrases import PassphraseEnv, PassphraseFile, PassphraseKeyring, passphrase_source
from securealign.client.joining import CERTIFICATES, CONFIGURATION, Choices, complete, join_provider, name_in
from securealign.commands import AsJson, failures
from securealign.errors import ConfigurationError
from securealign.pki.chains import now_utc
from securealign.pki.identity import PARTY_NAME
from securealign.pki.invitations import authority_of, fingerprint, is_sealed, parse, read_bounded, unseal
from securealign.pki.requests import key_fingerprint


def join(
    invitation: Annotated[Path | None, typer.Argument(help="The file that the provider has sent.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Instead: the certificate that the provider has signed for this client.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The client's folder; default: the name in the invitation.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="The client's encoder: built-in name, model folder or hub id.")
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Instead of an encoder: a file with the embeddings of the public texts.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="The file of public texts, where it is not in the invitation.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """Answer an invitation: make a key and a folder with a configuration, and a request for the provider to sign.

    The private key stays in the folder. With --certificate the folder gets what the provider has signed, and is
    complete. No existing file is replaced.
    """
    with failures(as_json=as_json):
        if (invitation is None) == (certificate is None):
            raise ConfigurationError(
                "join takes one file: an invitation or a certificate.",
                hint="Give INVITATION, or --certificate FILE once the provider has signed.",
            )
        if encoder is not None and embeddings is not None:
            raise ConfigurationError("A client has one source of embeddings.", hint="Give --encoder or --embeddings.")
        if certificate is not None:
            result, lines = _complete(certificate, folder)
        else:
            options = "--passphrase-file, --passphrase-env, --passphrase-keyring"
            source = passphrase_source(
                passphrase_file,
                passphrase_env,
                passphrase_keyring,
                options=options,
                label="Passphrase of the invitation",
            )
            data = read_bounded(invitation or Path())
            choices = Choices(encoder=encoder, embeddings=embeddings, texts=texts)
            result, lines = _join(unseal(data, source.read(new=False)) if is_sealed(data) else data, folder, choices)
    typer.echo(json.dumps(result) if as_json else "\n".join(lines))


def _join(data: bytes, folder: Path | None, choices: Choices) -> tuple[dict[str, Any], list[str]]:
    invited = parse(data)
    home = Path(invited.name) if folder is None else folder
    example = shipped("parties/client/example.toml").read_text(encoding="utf-8")
    written, key = join_provider(invited, home, choices, example, now=now_utc())
    authority = fingerprint(authority_of(invited))
    result = {"folder": str(home), "files": [str(path) for path in written], "authority": authority}
    lines = [
        f"joined     {invited.address} as {invited.name}, in the folder {home}",
        f"authority  {authority}  have the provider's operator read theirs: it must be the same",
    ]
    config = home / CONFIGURATION
    if choices.encoder is None and choices.embeddings is None:
        lines.append(f"edit       {config}: name your own encoder under [encoder]")
    if invited.digest is not None and invited.texts is None and choices.texts is None:
        lines.append(f"add        {home / 'public.jsonl'}, the provider's {invited.rows} public texts")
    if invited.key is not None:
        return result, [*lines, f"next       securealign doctor --config {config} --peer"]
    where = "" if folder is None else f" --folder {home}"
    request, own = home / f"{invited.name}.request", key_fingerprint(key)
    lines += [
        f"send       {request} to the provider's operator",
        f"key        {own}  they see the same when they sign",
        f"next       when the certificate has come: securealign join --certificate {invited.name}.cert{where}",
    ]
    return {**result, "request": str(request), "key": own}, lines


def _complete(file: Path, folder: Path | None) -> tuple[dict[str, Any], list[str]]:
    data = read_bounded(file)
    home = _home(data) if folder is None else folder
    written = complete(home, data, now=now_utc())
    config = home / CONFIGURATION
    lines = [f"complete   {written}", f"next       securealign doctor --config {config} --peer"]
    return {"folder": str(home), "certificate": str(written)}, lines


def _home(data: bytes) -> Path:
    """Return the folder that a certificate is for: the current one if it has joined, or that of its name."""
    name = name_in(data)
    here = (Path(CERTIFICATES) / "key.pem").exists() and Path(CONFIGURATION).exists()
    return Path() if here or not PARTY_NAME.fullmatch(name) else Path(name)
