"""Archives give their wanted members and nothing else, whatever they hold."""

import io
import tarfile
import zipfile

import pytest

from securealign.errors import AssetError
from securealign.lab.assets.archives import append_members, extract_members


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(name, data)
    return path


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as content:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                content.addfile(info)
            else:
                info.size = len(data)
                content.addfile(info, io.BytesIO(data))
    return path


def make_deb(path, members):
    data = make_tar(path.with_suffix(".tar.xz"), members, "w:xz").read_bytes()
    entries = [(b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"odd"), (b"data.tar.xz", data)]
    content = b"!<arch>\n"
    for name, body in entries:
        content += name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) * 2 + b"100644".ljust(8)
        content += str(len(body)).encode().ljust(10) + b"`\n" + body + b"\n" * (len(body) % 2)
    path.write_bytes(content)
    return path


MAKERS = {"x.whl": make_zip, "x.tar.gz": make_tar, "x.deb": make_deb}


def extract(archive, target, members=("*",), max_bytes=1000):
    extract_members(archive, target, root="p/data", members=members, max_bytes=max_bytes)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_only_wanted_members_are_written_below_the_root(tmp_path, name, make):
    archive = make(
        tmp_path / name, {"p/data/a.txt": b"A", "p/data/sub/b.txt": b"B", "p/setup.py": b"no", "a.txt": b"no"}
    )
    assert extract(archive, tmp_path / "out", ("a.txt", "sub/*")) == {"a.txt": b"A", "sub/b.txt": b"B"}


def test_leading_dots_of_debian_paths_are_ignored(tmp_path):
    archive = make_deb(tmp_path / "x.deb", {"./p/data/a.txt": b"A"})
    assert extract(archive, tmp_path / "out") == {"a.txt": b"A"}


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
@pytest.mark.parametrize("path", ["p/data/../../out.txt", "p/data//etc/x", "p/data/..\\x", "p/data/C:x"])
def test_a_path_that_leaves_the_target_is_refused(tmp_path, name, make, path):
    archive = make(tmp_path / name, {path: b"A"})
    with pytest.raises(AssetError, match="unsafe path"):
        extract(archive, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out.txt").exists()


def test_a_link_is_refused(tmp_path):
    archive = make_tar(tmp_path / "x.tgz", {"p/data/a": None})
    with pytest.raises(AssetError, match="'p/data/a', which is no regular file"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_members_that_unpack_to_too_much_in_all_are_refused(tmp_path, name, make):
    archive = make(tmp_path / name, {"p/data/a": b"0" * 600, "p/data/b": b"0" * 600})
    with pytest.raises(AssetError, match="more bytes than its registry entry allows"):
        extract(archive, tmp_path / "out")
    assert len(extract(archive, tmp_path / "fits", max_bytes=1200)) == 2


def test_a_pattern_without_match_is_reported(tmp_path):
    archive = make_zip(tmp_path / "x.whl", {"p/data/a": b"A"})
    with pytest.raises(AssetError, match="holds no p/data/b"):
        extract(archive, tmp_path / "out", ("a", "b"))


@pytest.mark.parametrize("name", [*MAKERS, "y.deb"])
def test_a_damaged_archive_is_reported(tmp_path, name):
    archive = tmp_path / name
    archive.write_bytes(b"!<arch>\n" + b"x" * 80 if name == "y.deb" else b"neither")
    with pytest.raises(AssetError, match=rf"{name} (is damaged|is no Debian package)"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.whl", "x.tar.gz"])
def test_damage_within_a_member_is_reported(tmp_path, name):
    archive = MAKERS[name](tmp_path / name, {"p/data/a": bytes(range(256)) * 40})
    content = bytearray(archive.read_bytes())
    for place in range(100, 130):
        content[place] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(AssetError, match="is damaged"):
        extract(archive, tmp_path / "out", max_bytes=20_000)


def test_a_debian_package_without_data_is_reported(tmp_path):
    archive = tmp_path / "x.deb"
    archive.write_bytes(b"!<arch>\n")
    with pytest.raises(AssetError, match=r"holds no data\.tar"):
        extract(archive, tmp_path / "out")


def test_pieces_are_appended_within_their_limit(tmp_path):
    archive = make_zip(tmp_path / "x.whl", {"in/z.zip.001": b"abc", "other": b"no"})
    output = io.BytesIO(b"")
    assert append_members(archive, output, pattern="*/z.zip.0??", max_bytes=3) == 3
    assert output.getvalue() == b"abc"
    with pytest.raises(AssetError, match="more bytes"):
        append_members(archive, output, pattern="*/z.zip.0??", max_bytes=2)
    with pytest.raises(AssetError, match="holds no absent"):
        append_members(archive, output, pattern="absent", max_bytes=2)
