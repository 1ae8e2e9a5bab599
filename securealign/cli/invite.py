"""securealign invite: what a client needs to meet this provider, in one signed file."""

from __future__ import annotations

import ipaddress
import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from securealign.cli.passphrases import PassphraseEnv, PassphraseFile, PassphraseKeyring, passphrase_source
from securealign.commands import AsJson, Override, failures
from securealign.data import load_public
from securealign.errors import ConfigurationError, ErrorCode, InputError, did_you_mean
from securealign.files import require_new, write_new
from securealign.he.entropy import SystemEntropy
from securealign.pki.authority import Authority
from securealign.pki.bundles import load_bundle
from securealign.pki.chains import is_issued_by
from securealign.pki.enrolment import INVITATION_DAYS, TRIAL_DAYS, Enrolment
from securealign.pki.identity import Role
from securealign.pki.invitations import MAX_BYTES, Invitation, fingerprint, render, seal
from securealign.provider.config import ProviderSettings
from securealign.settings import load_settings
from securealign.transport.preflight import split_target


def invite(
    name: Annotated[str, typer.Argument(help="Name of the client: its budgets here go by it.")],
    address: Annotated[str, typer.Option(help="HOST:PORT under which the client reaches this provider.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make, such as acme.invite.")],
    config: Annotated[Path, typer.Option(help="The provider's TOML file.")] = Path("provider.toml"),
    days: Annotated[
        int, typer.Option(min=1, max=365, help="Days in which the invitation has to be used.")
    ] = INVITATION_DAYS,
    with_texts: Annotated[bool, typer.Option("--with-texts", help="Put the public texts into the file.")] = False,
    with_key: Annotated[
        bool,
        typer.Option(
            "--with-key",
            help=f"For trials: put a private key and its certificate, valid for {TRIAL_DAYS} days, into the file, "
            "sealed under a passphrase.",
        ),
    ] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="The client has a certificate: it gets another under the same name.")
    ] = False,
    certs: Annotated[
        Path | None,
        typer.Option(help="The folder that 'certs init' made; default: the one around the provider's bundle."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="The space whose public texts it names, where the provider has several.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Write an invitation: what a client needs to meet this provider, signed by its authority, usable once.

    The client answers with 'securealign join', and 'securealign certs sign' gives it a certificate. Without --with-key
    the file holds no private key.
    """
    with failures(as_json=as_json):
        require_new(output)
        _require_dialled(address)
        settings = load_settings(ProviderSettings, config, override or [])
        bundle = settings.path(settings.server.certificates)
        authority = Authority(certs if certs is not None else bundle.parent)
        _require_own(authority, bundle)
        texts = _texts_of(settings, space)
        public = load_public(settings.path_or_name(texts)) if texts else None
        if with_texts and public is None:
            raise ConfigurationError(
                f"{config} has no public texts.", hint="Leave --with-texts out, or add a section [public]."
            )
        template = partial(
            Invitation,
            address=address,
            suites=settings.policy.suites,
            heads=tuple(head for head, entry in settings.offered_heads.items() if entry.may_ask(name)),
            digest=public.digest.hex() if public else None,
            rows=len(public.texts) if public else None,
            texts=public.texts if public and with_texts else None,
        )
        options = "--passphrase-file, --passphrase-env, --passphrase-keyring"
        source = passphrase_source(
            passphrase_file, passphrase_env, passphrase_keyring, options=options, label="Passphrase of the invitation"
        )
        passphrase = source.read(new=True) if with_key else None
        enrolment = Enrolment(authority, SystemEntropy())
        make = enrolment.invite_with_key if with_key else enrolment.invite
        invitation = make(template, name, days=days, renew=renew)
        data = render(invitation, authority.sign)
        if len(data) > MAX_BYTES:
            raise InputError("The public texts are too large for an invitation.", hint="Leave --with-texts out.")
        write_new(output, data if passphrase is None else seal(data, passphrase), mode=0o600)
    known = fingerprint(authority.certificate)
    if as_json:
        result = {"invitation": str(output), "name": name, "expires": f"{invitation.expires:%Y-%m-%dT%H:%M:%SZ}"}
        typer.echo(json.dumps({**result, "authority": known, "address": address}))
        return
    typer.echo(f"invitation  {output}  for {name} alone, until {invitation.expires:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"authority   {known}  read this to the client: both must see the same")
    if with_key:
        typer.echo(f"next        send the file and, over another channel, the passphrase; {name} runs:")
        typer.echo(f"            securealign join {output.name}")
    else:
        typer.echo(f"next        send the file to {name}, who runs: securealign join {output.name}")
        typer.echo(f"            then sign its answer: securealign certs sign {name}.request -o {name}.cert")


def _texts_of(settings: ProviderSettings, name: str | None) -> str:
    """Return the public texts that an invitation names, "" where the provider does not train."""
    spaces = {space: entry.texts for space, entry in settings.offered_spaces.items() if entry.texts}
    if name is not None and name not in spaces:
        raise ConfigurationError(
            f"The provider has no public texts of a space {name!r}.", hint=did_you_mean(name, spaces) or "Leave it out."
        )
    if name is None and len(set(spaces.values())) > 1:
        raise ConfigurationError(
            f"The provider has public texts of several spaces: {', '.join(spaces)}.", hint="Name one with --space."
        )
    return spaces[name] if name is not None else next(iter(spaces.values()), "")


def _require_dialled(address: str) -> None:
    """Raise `ConfigurationError` for an address that no client can connect to."""
    host, _ = split_target(address)
    if not (address.isascii() and address.isprintable() and " " not in address and len(address) <= 300):
        raise ConfigurationError(f"{address!r} is no address of a provider.", hint="Write host:port in ASCII.")
    try:
        unspecified = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return
    if unspecified:
        raise ConfigurationError(
            f"{address!r} is where a provider listens, and nothing that a client can connect to.",
            hint="Write this machine's name or address as the client sees it, such as provider.example.org:50051.",
        )


def _require_own(authority: Authority, bundle: Path) -> None:
    """Raise `InputError` unless the provider's certificate is of this authority, and the provider trusts it."""
    own = load_bundle(bundle, Role.PROVIDER)
    leaf, trusted = (x509.load_pem_x509_certificates(pem) for pem in (own.certificate, own.authority))
    if not is_issued_by(leaf[0], authority.certificate) or authority.certificate not in trusted:
        raise InputError(
            f"The provider's bundle {bundle} is of another authority than {authority.records}.",
            hint="Name the folder of its authority with --certs.",
            code=ErrorCode.FILE_INVALID,
        )
