"""Writing files: nothing behind a link, nothing that is no file, and permissions as they were."""

import os
import stat

import pytest

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place, make_folder, write_atomically


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("link", "loop"):
        write_atomically(tmp_path / name, b"new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_no_file_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "x" * 256, "folder/..", ".", "nul\0", "half\ud800"):
        with pytest.raises(InputError, match="cannot be written"):
            write_atomically(tmp_path / name, b"new")
    with pytest.raises(InputError, match="a device, pipe or socket has this name"):
        write_atomically("/dev/null", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_long_names(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("umask", "fresh"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions(tmp_path, umask, fresh):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "fresh", b"1")
        (tmp_path / "private").touch()
        (tmp_path / "private").chmod(0o640)
        write_atomically(tmp_path / "private", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == fresh
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o640


def test_places_for_files(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("new", "file", "loop", "n" * 255):
        assert check_place(tmp_path / name) == tmp_path / name
    for name in ("none/new", "file/new", "loop/new", "n" * 256, "d/" * 3000, "nul\0", "half\ud800"):
        with pytest.raises(InputError, match=r"cannot be written|does not exist"):
            check_place(tmp_path / name)


def test_folders(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    for name in ("file", "file/new", "loop", "n" * 256, "d/" * 3000, "nul\0", "half\ud800"):
        with pytest.raises(InputError, match="cannot be created"):
            make_folder(tmp_path / name)
