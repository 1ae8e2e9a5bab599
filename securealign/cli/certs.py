"""securealign certs: make, sign, renew, revoke and list certificates for mutual TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from rich.console import Console
from rich.table import Table

from securealign.commands import AsJson, failures
from securealign.errors import ErrorCode, InputError
from securealign.files import require_new, write_new
from securealign.pki.authority import AUTHORITY_DAYS, LIST_DAYS, Authority, Issued, create_certificates
from securealign.pki.identity import Role, identity_of_certificate, printable

app = typer.Typer(no_args_is_help=True, help="Certificates for mutual TLS: make, sign, renew, revoke and list them.")

Folder = Annotated[Path, typer.Argument(help="The folder that 'certs init' made: ca/ and the bundles inside it.")]
Days = Annotated[int, typer.Option(min=1, max=36_500, help="Days until the certificates expire.")]
ListDays = Annotated[
    int,
    typer.Option(
        "--list-days", min=1, max=36_500, help="Days until parties without a newer list of revoked ones refuse peers."
    ),
]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make: ca/, provider/ and client/ inside it.")],
    days: Days = 365,
    host: Annotated[
        list[str] | None, typer.Option(help="Host name or address to add to the provider's certificate.")
    ] = None,
    authority_days: Annotated[
        int, typer.Option("--ca-days", min=1, max=36_500, help="Days until the authority itself expires.")
    ] = AUTHORITY_DAYS,
    list_days: ListDays = LIST_DAYS,
    without_client: Annotated[
        bool, typer.Option("--without-client", help="Make no client's bundle: clients are invited.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a private authority and one bundle for each party.

    Hand each party its own folder over a channel you trust, or invite clients. Keep ca/ offline or guard it: its key
    can make further parties.
    """
    roles = [role for role in Role if role is Role.PROVIDER or not without_client]
    with failures(as_json=as_json):
        bundles = create_certificates(
            folder,
            days=days,
            provider_hosts=host or [],
            roles=roles,
            authority_days=authority_days,
            list_days=list_days,
        )
    if as_json:
        typer.echo(json.dumps({"ca": str(folder / "ca"), **{bundle.name: str(bundle) for bundle in bundles}}))
        return
    typer.echo(f"authority        {folder / 'ca'}      keep offline: its key can make further parties")
    for bundle in bundles:
        typer.echo(f"{bundle.name + ' bundle':<17}{bundle}    for the {bundle.name} only")
    typer.echo(f"valid for {days} days; the list of revoked certificates for {list_days}")


@app.command()
def issue(
    folder: Folder,
    name: Annotated[str, typer.Option(help="Name of the party: of its folder, and of its budgets at the provider.")],
    role: Annotated[str, typer.Option(help="The role of the party, provider or client.")] = "client",
    days: Days = 365,
    host: Annotated[list[str] | None, typer.Option(help="Host name or address to add to the certificate.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a bundle for one more party under the same authority."""
    with failures(as_json=as_json):
        bundle = Authority(folder).issue(_role(role), name, days=days, hosts=host or [])
    typer.echo(json.dumps({"name": name, "bundle": str(bundle)}) if as_json else f"bundle of {name}  {bundle}")


@app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="The file NAME.request that an invited client has sent.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to make, such as acme.cert.")],
    certs: Annotated[Path, typer.Option(help="The folder that 'certs init' made.")] = Path("certs"),
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Give an invited client its certificate, once: the file holds it, the authority and the list of revoked ones."""
    from securealign.he.entropy import SystemEntropy
    from securealign.pki.enrolment import Enrolment
    from securealign.pki.invitations import read_bounded
    from securealign.pki.requests import key_fingerprint, read_request

    with failures(as_json=as_json):
        require_new(output)
        asked = read_request(read_bounded(request))
        data = Enrolment(Authority(certs), SystemEntropy()).sign(asked, days=days)
        write_new(output, data)
    own = key_fingerprint(asked.key)
    if as_json:
        typer.echo(json.dumps({"name": asked.name, "certificate": str(output), "key": own}))
        return
    typer.echo(f"certificate  {output}  for {asked.name}, {days} days")
    typer.echo(f"key          {own}  the client sees the same")
    typer.echo(f"next         send the file to {asked.name}, who runs: securealign join --certificate {output.name}")


@app.command()
def renew(
    folder: Folder,
    bundle: Annotated[
        list[str] | None, typer.Option(help="Only this bundle; without it, all that are not revoked.")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list-only", help="No certificates: sign the list of revoked ones anew.")
    ] = False,
    days: Days = 365,
    list_days: ListDays = LIST_DAYS,
    as_json: AsJson = False,
) -> None:
    """Give bundles new keys and certificates for the same parties, and sign the list of revoked ones anew.

    What a bundle held stays in its folder previous/. Parties that run take the new files up without a restart.
    """
    with failures(as_json=as_json):
        authority = Authority(folder)
        renewed = [] if list_only else authority.renew(bundle or [], days=days, list_days=list_days)
        crl = authority.renew_list(list_days=list_days) if list_only else folder / "ca" / "crl.pem"
    if as_json:
        typer.echo(json.dumps({"renewed": [str(item) for item in renewed], "list": str(crl)}))
        return
    for item in renewed:
        typer.echo(f"renewed  {item}    hand it to {item.name} only")
    typer.echo(f"list     {crl}    hand it to every party, as crl.pem of its bundle")


@app.command()
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Name of the party, as 'certs show' lists it.")],
    list_days: ListDays = LIST_DAYS,
    as_json: AsJson = False,
) -> None:
    """Revoke every certificate that a party ever got.

    It counts for a party from the moment that its bundle holds the new crl.pem: hand it to all others.
    """
    with failures(as_json=as_json):
        revoked = Authority(folder).revoke(name, list_days=list_days)
    crl = folder / "ca" / "crl.pem"
    if as_json:
        typer.echo(json.dumps({"revoked": [_described(item) for item in revoked], "list": str(crl)}))
        return
    typer.echo(f"revoked  {len(revoked)} certificates of {name}")
    typer.echo(f"list     {crl}    hand it to every party, as crl.pem of its bundle: until then they let {name} in")


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder that 'certs init' made, or one bundle.")],
    as_json: AsJson = False,
) -> None:
    """List certificates: name, role, subject, when they are valid, and whether they were revoked."""
    with failures(as_json=as_json):
        if (folder / "ca").is_dir():
            listed = [_described(item) for item in Authority(folder).issued()]
        else:
            listed = _bundle(folder)
    if as_json:
        typer.echo(json.dumps({"certificates": listed}))
        return
    table = Table(box=None, pad_edge=False)
    columns = ("name", "role", "valid_from", "valid_until", "revoked", "serial", "issuer_key", "subject")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in listed:
        table.add_row(*(item[column] or "-" for column in columns))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _role(text: str) -> Role:
    found = next((role for role in Role if role.label == text), None)
    if found is None:
        raise typer.BadParameter("Give provider or client.", param_hint="--role")
    return found


def _bundle(folder: Path) -> list[dict[str, Any]]:
    """Describe the certificate of a bundle; only its authority knows whether it was revoked."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds neither an authority nor a bundle.",
            hint="Point to the folder that 'securealign certs init' made, or to one inside it.",
            code=ErrorCode.FILE_INVALID,
        ) from error
    return [_described(Issued(identity_of_certificate(certificate), certificate, None))]


def _described(item: Issued) -> dict[str, Any]:
    certificate = item.certificate
    return {
        "name": item.identity.name,
        "role": item.identity.role.label,
        "subject": printable(certificate.subject.rfc4514_string()),
        "serial": f"{certificate.serial_number:x}",
        "valid_from": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "valid_until": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "revoked": f"{item.revoked:%Y-%m-%dT%H:%M:%SZ}" if item.revoked is not None else None,
        "fingerprint": item.identity.fingerprint,
        "issuer_key": _issuer_key(certificate),
    }


def _issuer_key(certificate: x509.Certificate) -> str | None:
    try:
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    return key.hex()[:16] if key else None
