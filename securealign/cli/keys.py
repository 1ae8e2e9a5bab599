"""securealign keys: the encrypted store of a party's keys."""

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from securealign.cli.passphrases import PassphraseEnv, PassphraseFile, PassphraseKeyring, passphrase_source
from securealign.commands import AsJson, failures
from securealign.errors import ConfigurationError
from securealign.files import write_atomically
from securealign.keys.entries import KeyEntry
from securealign.keys.handles import ExportToken, KeyHandle, Purpose
from securealign.keys.store import KeyStore

app = typer.Typer(no_args_is_help=True, help="Keys that outlive a session, in an encrypted store.")

_DEFAULT_DAYS = 365
_SHOWN = 16
_DATE = "%Y-%m-%d %H:%M"
_LOST = {
    Purpose.TRAINING: "Training sessions begun with it cannot be taken up again, and nobody can decrypt their results "
    "or recorded traffic.",
    Purpose.INFERENCE: "Inference sessions begun with it cannot be taken up again, and nobody can decrypt their "
    "answers or recorded traffic.",
    Purpose.STORAGE: "Records of sessions sealed with it on this machine become unreadable.",
}

Store = Annotated[Path, typer.Option(envvar="SECUREALIGN_KEY_STORE", help="The key store.")]
PassphraseGenerated = Annotated[
    Path | None, typer.Option(help="Read the passphrase from this file, made with a random one if there is no store.")
]
KeyName = Annotated[str, typer.Argument(help="Name of the key, or its first characters, at least eight.")]
PurposeOfKey = Annotated[Purpose, typer.Argument(help="What the key is for.")]
MaxUses = Annotated[int | None, typer.Option(min=1, help="Sessions that the key may begin; default: no limit.")]

_DEFAULT_STORE = Path("keys.store")


@app.command("list")
def show(
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of a store, without their secrets."""
    with failures(as_json=as_json):
        keys = KeyStore.open(store, passphrase_source(passphrase_file, passphrase_env, passphrase_keyring))
        described = [_describe(keys, entry) for entry in keys.entries()]
    if as_json:
        typer.echo(json.dumps({"store": str(keys.path), "generation": keys.generation, "keys": described}))
    elif described:
        Console().print(_table(described))
    else:
        typer.echo(f"{keys.path} holds no keys.")


@app.command()
def create(
    purpose: PurposeOfKey,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days until the key expires.")] = _DEFAULT_DAYS,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Make a key that does not expire.")] = False,
    max_uses: MaxUses = None,
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    passphrase_generated: PassphraseGenerated = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and the store when there is none."""
    lifetime = None if no_expiry else timedelta(days=days)
    with failures(as_json=as_json):
        source = passphrase_source(passphrase_file, passphrase_env, passphrase_keyring, passphrase_generated)
        keys = KeyStore.open_or_create(store, source)
        key = keys.new_key(purpose, lifetime=lifetime, max_uses=max_uses)
        described = _describe(keys, keys.find(key.name))
    _made(key, keys, described, as_json=as_json)


@app.command()
def rotate(
    purpose: PurposeOfKey,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until the key expires; default: as the last one.")
    ] = None,
    max_uses: Annotated[
        int | None, typer.Option(min=1, help="Sessions that the key may begin; default: as the last one.")
    ] = None,
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key of a purpose and retire the others, which finish the sessions they began."""
    lifetime = None if days is None else timedelta(days=days)
    with failures(as_json=as_json):
        keys = KeyStore.open(store, passphrase_source(passphrase_file, passphrase_env, passphrase_keyring))
        key = keys.rotate(purpose, lifetime=lifetime, max_uses=max_uses)
        described = _describe(keys, keys.find(key.name))
    _made(key, keys, described, as_json=as_json)


@app.command()
def export(
    name: KeyName,
    output: Annotated[Path, typer.Option(help="File to make, of mode 0600.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Confirm that the secret shall leave the store.")] = False,
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """Write the secret of a key to a file, as 64 hexadecimal digits, unencrypted."""
    with failures(as_json=as_json):
        if not reveal:
            raise ConfigurationError(
                "Whoever has the exported file can decrypt what the key protects.",
                hint="Add --reveal if you want that. To back up keys, copy the store instead.",
            )
        if output.exists():
            raise ConfigurationError(f"{output} exists already and is not replaced.", hint="Name another file.")
        keys = KeyStore.open(store, passphrase_source(passphrase_file, passphrase_env, passphrase_keyring))
        key = keys.get(name)
        secret = keys.export(key.name, ExportToken.i_understand_that_this_reveals_the_key())
        write_atomically(output, secret.hex().encode() + b"\n", mode=0o600)
    if as_json:
        typer.echo(json.dumps({"name": key.name, "purpose": key.purpose.value, "output": str(output)}))
    else:
        typer.echo(f"key {key.name[:_SHOWN]} for {key.purpose.value} written to {output}, unencrypted")


@app.command()
def destroy(
    name: KeyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """Delete the secret of a key for good; the store keeps a record that it existed."""
    with failures(as_json=as_json):
        keys = KeyStore.open(store, passphrase_source(passphrase_file, passphrase_env, passphrase_keyring))
        entry = keys.find(name)
        if not yes:
            _confirm(entry)
        described = _describe(keys, keys.destroy(entry.name))
    if as_json:
        typer.echo(json.dumps(described))
        return
    typer.echo(f"key {entry.name[:_SHOWN]} for {entry.purpose.value} destroyed")
    typer.echo("Backups of the store made before still hold it, under the passphrase of their time.")


@app.command()
def passphrase(
    new_passphrase_file: Annotated[Path | None, typer.Option(help="Take the new one from this file.")] = None,
    new_passphrase_env: Annotated[str | None, typer.Option(help="Take the new one from this variable.")] = None,
    new_passphrase_keyring: Annotated[str | None, typer.Option(help="Take the new one from this account.")] = None,
    store: Store = _DEFAULT_STORE,
    passphrase_file: PassphraseFile = None,
    passphrase_env: PassphraseEnv = None,
    passphrase_keyring: PassphraseKeyring = None,
    as_json: AsJson = False,
) -> None:
    """Put the store under a new passphrase."""
    with failures(as_json=as_json):
        new = passphrase_source(
            new_passphrase_file,
            new_passphrase_env,
            new_passphrase_keyring,
            options="--new-passphrase-file, --new-passphrase-env, --new-passphrase-keyring",
            label="New passphrase of the key store",
        )
        keys = KeyStore.open(store, passphrase_source(passphrase_file, passphrase_env, passphrase_keyring))
        keys.change_passphrase(new)
    if as_json:
        typer.echo(json.dumps({"store": str(keys.path), "generation": keys.generation}))
        return
    typer.echo(f"{keys.path} has a new passphrase")
    typer.echo("Copies made before open with the old one: delete them, or rotate the keys if others may hold one.")


def _confirm(entry: KeyEntry) -> None:
    typer.echo(f"Key {entry.name[:_SHOWN]} for {entry.purpose.value}, used {entry.uses} times.", err=True)
    typer.echo(f"{_LOST[entry.purpose]} This cannot be undone.", err=True)
    # click.confirm prints a blank on standard output, which is for JSON.
    typer.echo("Destroy it? [y/N] ", err=True, nl=False)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConfigurationError("Nothing was destroyed: there was no confirmation.", hint="Answer y, or pass --yes.")


def _made(key: KeyHandle, keys: KeyStore, described: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(described))
        return
    expires = "does not expire" if key.expires is None else f"expires {key.expires.strftime(_DATE)} UTC"
    typer.echo(f"key {key.name[:_SHOWN]} for {key.purpose.value} in {keys.path}, {expires}")


def _describe(keys: KeyStore, entry: KeyEntry) -> dict[str, Any]:
    described = entry.model_dump() | {"purpose": entry.purpose.value, "state": keys.state(entry).value}
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in described.items()
    }


def _table(described: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("key", "purpose", "state", "created, UTC", "expires, UTC", "uses"):
        table.add_column(column, no_wrap=True, justify="right" if column == "uses" else "left")
    for key in described:
        limit = "" if key["max_uses"] is None else f" / {key['max_uses']}"
        created, expires = (
            "never" if time is None else datetime.fromisoformat(time).strftime(_DATE)
            for time in (key["created"], key["expires"])
        )
        table.add_row(key["name"][:_SHOWN], key["purpose"], key["state"], created, expires, f"{key['uses']}{limit}")
    return table
