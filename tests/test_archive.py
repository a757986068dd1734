"""Thumbnails: quotas of RAM and disk, who leaves first, bad disks, and what must be gone."""
import errno
import logging
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamassist import archive as module
from streamassist.archive import DIGEST, Archive

SIZE = 100
FILE = SIZE + DIGEST
NONE = 0          # of RAM: every picture goes to a file
STEP_S = 0.5


def picture(frame: int, size: int = SIZE) -> bytes:
    return (f"secret {frame} ".encode() * size)[:size]


def show(archive: Archive, frames: range) -> None:
    for frame in frames:
        archive.add(frame, frame * STEP_S, picture(frame))


def held(archive: Archive, count: int) -> list[int]:
    """The frames that are shown, each as it was."""
    found = {frame: archive.get(frame) for frame in range(count)}
    assert all(jpeg in (None, picture(frame)) for frame, jpeg in found.items())
    return [frame for frame, jpeg in found.items() if jpeg]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def on_disk(folder: Path, count: int = 3) -> Archive:
    archive = Archive(NONE, folder, 100 * FILE)
    show(archive, range(count))
    return archive


# ---------------------------------------------------------------- quotas

def test_in_ram_the_oldest_leave():
    archive = Archive(3 * SIZE)
    show(archive, range(5))
    assert held(archive, 5) == [2, 3, 4] and archive.bytes == archive.in_ram == 3 * SIZE
    assert archive.figures() == {"ram": 3 * SIZE, "disk": 0, "dropped": 0}


def test_what_leaves_ram_goes_to_a_file_and_then_leaves(tmp_path):
    archive = Archive(2 * SIZE, tmp_path / "new" / "folder", 3 * FILE)
    show(archive, range(7))
    assert held(archive, 7) == [2, 3, 4, 5, 6]
    assert archive.figures() == {"ram": 2 * SIZE, "disk": 3 * FILE, "dropped": 0}
    names = [p.name for p in files(tmp_path / "new" / "folder")]
    assert names == [f"thumbnail-00000000{f}-00000{f * 500:04}ms.jpg" for f in (2, 3, 4)]


def test_a_picture_given_again_replaces_its_file(tmp_path):
    archive = on_disk(tmp_path)
    archive.add(1, 9.0, b"another")
    assert archive.get(1) == b"another" and len(files(tmp_path)) == 3
    assert archive.on_disk == sum(p.stat().st_size for p in files(tmp_path))


def test_a_picture_that_fits_nowhere_leaves_at_once(tmp_path):
    archive = Archive(SIZE - 1, tmp_path, FILE - 1)
    show(archive, range(2))
    assert held(archive, 2) == [] and files(tmp_path) == [] and archive.dropped == 0


def test_a_folder_holds_no_more_than_so_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 4)
    assert held(on_disk(tmp_path, 9), 9) == [5, 6, 7, 8] and len(files(tmp_path)) == 4


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 4), st.integers(0, 4),
    st.lists(st.tuples(st.sampled_from("aaafp"), st.integers(0, 12), st.integers(1, 200))),
)
def test_whatever_happens_quotas_hold_and_pictures_are_their_own(ram, disk, steps):
    with tempfile.TemporaryDirectory() as box:
        archive = Archive(ram * SIZE, Path(box), disk * FILE)
        sizes: dict[int, int] = {}
        for step, frame, size in steps:
            if step == "a":
                archive.add(frame, frame * STEP_S, picture(frame, size))
                sizes[frame] = size
            elif step == "f":
                archive.forget(frame * STEP_S)
                assert not any(archive.get(f) for f in range(frame, 13))
            else:
                archive.protect(set(range(frame)))
            there = {f: archive.get(f) for f in range(13)}
            assert all(jpeg in (None, picture(f, sizes.get(f, 0))) for f, jpeg in there.items())
            assert archive.in_ram <= ram * SIZE and archive.on_disk <= disk * FILE
            assert archive.on_disk == sum(p.stat().st_size for p in files(Path(box)))
        assert archive.dropped == 0
        archive.clear()
        assert files(Path(box)) == [] and archive.in_ram == archive.on_disk == 0


# ---------------------------------------------------------------- who leaves first

@pytest.mark.parametrize("on_disk", [False, True])
def test_protected_pictures_outlive_others(tmp_path, on_disk):
    """One more frame passes through RAM, where there is a disk."""
    archive = Archive(NONE, tmp_path, 4 * FILE) if on_disk else Archive(4 * SIZE)
    show(archive, range(4))
    archive.protect({0, 2, 99})
    show(archive, range(4, 8))
    assert held(archive, 8) == [0, 2, 6, 7]
    archive.protect({6})
    show(archive, range(8, 10))
    assert held(archive, 10) == [6, 7, 8, 9]


def test_where_all_are_protected_the_oldest_goes():
    archive = Archive(4 * SIZE)
    show(archive, range(4))
    archive.protect(set(range(4)))
    show(archive, range(4, 6))
    assert held(archive, 6) == [1, 2, 3, 5], "4 was the only one that was not protected"
    archive.protect({1, 2, 3, 5})
    show(archive, range(6, 7))
    assert held(archive, 7) == [2, 3, 5, 6]


def test_the_newest_stay_until_somebody_could_protect_them():
    archive = Archive(100 * SIZE)
    show(archive, range(100))
    archive.protect(set(range(98)))
    show(archive, range(100, 116))
    newest = list(range(91, 116))   # a quarter of 101
    assert held(archive, 116)[-25:] == newest and archive.get(0) is None


# ---------------------------------------------------------------- faults

def test_a_flipped_bit_anywhere_gives_no_picture(tmp_path):
    for place in range(FILE):
        archive = on_disk(tmp_path, 1)
        (path,) = files(tmp_path)
        broken = bytearray(path.read_bytes())
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        assert archive.get(0) is None and archive.reasons == {"damaged": 1}


def swap(a: Path, b: Path) -> None:
    a_bytes = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(a_bytes)


@pytest.mark.parametrize("harm, reason", [
    (lambda p, q: p.unlink(), "vanished"),
    (lambda p, q: p.write_bytes(b""), "damaged"),
    (lambda p, q: p.write_bytes(p.read_bytes()[:-1]), "damaged"),
    (lambda p, q: p.write_bytes(p.read_bytes() * 1000), "damaged"),
    (lambda p, q: p.write_bytes(q.read_bytes()), "damaged"),
    (lambda p, q: (p.unlink(), p.mkdir()), "not read"),
])
def test_a_file_that_goes_wrong_is_dropped_counted_and_told(tmp_path, caplog, harm, reason):
    archive = on_disk(tmp_path)
    harm(files(tmp_path)[1], files(tmp_path)[2])
    with caplog.at_level(logging.WARNING):
        assert archive.get(1) is None and archive.get(1) is None
    assert held(archive, 3) == [0, 2] and archive.dropped == 1
    assert archive.reasons[reason] == 1 and archive.on_disk == 2 * FILE
    assert caplog.messages[-1] == archive.fault and archive.fault.endswith(".")
    assert len(caplog.messages) == len(archive.reasons), "a folder cannot be unlinked besides"
    show(archive, range(3, 5))
    assert held(archive, 5) == [0, 2, 3, 4], "the stream goes on"


def test_many_faults_of_a_kind_are_one_sentence(tmp_path, caplog):
    archive = on_disk(tmp_path, 20)
    for path in files(tmp_path):
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert held(archive, 20) == []
    assert archive.dropped == 20 and caplog.messages == [archive.fault]


@pytest.mark.parametrize("code, reason", [
    (errno.ENOSPC, "disk full"), (errno.EDQUOT, "disk full"), (errno.EIO, "not written"),
    (errno.EROFS, "not written"),
])
def test_a_disk_that_takes_no_more(tmp_path, caplog, monkeypatch, code, reason):
    archive = Archive(SIZE, tmp_path, 100 * FILE)
    show(archive, range(3))

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:50])
        raise OSError(code, os.strerror(code))

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        show(archive, range(3, 8))
    assert held(archive, 8) == [0, 1, 7], "the newest is in RAM, files are as they were"
    assert archive.dropped == 5 and archive.reasons == {reason: 5}
    assert len(files(tmp_path)) == 2 and archive.on_disk == 2 * FILE
    assert caplog.messages == [archive.fault] and "--keep" in archive.fault
    show(archive, range(8, 10))
    assert held(archive, 10) == [0, 1, 7, 8, 9], "once there is space it is used"


def test_a_folder_that_cannot_be_used_leaves_ram(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        archive = Archive(2 * SIZE, tmp_path / "file" / "thumbnails", 100 * FILE)
    show(archive, range(4))
    assert held(archive, 4) == [2, 3] and archive.reasons == {"folder": 1}
    assert caplog.messages == [archive.fault] and "stay in RAM" in archive.fault


@pytest.mark.parametrize("what", ["unlink", "overwrite"])
def test_a_file_that_cannot_be_erased_is_told(tmp_path, monkeypatch, what):
    archive = on_disk(tmp_path, 1)

    def refuse(*args, **more) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    owner, name = (Path, "unlink") if what == "unlink" else (module, "overwrite_file")
    monkeypatch.setattr(owner, name, refuse)
    archive.forget(0.0)
    assert archive.get(0) is None and archive.on_disk == 0
    assert archive.reasons == {"not erased": 1} and "delete that folder" in archive.fault


# ---------------------------------------------------------------- forgetting

def test_the_bytes_of_forgotten_pictures_are_gone(tmp_path):
    """Read from files that were open before, so what lay on the disk is seen without its name."""
    archive = Archive(2 * SIZE, tmp_path, 100 * FILE)
    show(archive, range(8))
    opened = [path.open("rb") for path in files(tmp_path)]
    archive.forget(4 * STEP_S)
    found = [file.read() for file in opened]
    for file in opened:
        file.close()
    assert [data[:SIZE] for data in found] == [picture(f) for f in range(4)] + [bytes(SIZE)] * 2
    assert found[4:] == [bytes(FILE)] * 2
    assert held(archive, 8) == [0, 1, 2, 3] and len(files(tmp_path)) == 4
    assert archive.figures() == {"ram": 0, "disk": 4 * FILE, "dropped": 0}


def test_clear_leaves_no_file_and_no_byte(tmp_path):
    archive = Archive(2 * SIZE, tmp_path, 100 * FILE)
    show(archive, range(8))
    with files(tmp_path)[0].open("rb") as file:
        archive.clear()
        assert file.read() == bytes(FILE)
    assert files(tmp_path) == [] and held(archive, 8) == [] and archive.bytes == 0
    show(archive, range(8))
    assert held(archive, 8) == list(range(8))


def test_a_vanished_file_does_not_stop_forgetting(tmp_path):
    archive = on_disk(tmp_path)
    files(tmp_path)[1].unlink()
    archive.forget(0.0)
    assert files(tmp_path) == [] and archive.fault == ""


def test_what_an_earlier_session_left_is_erased_and_foreign_files_are_not_touched(tmp_path):
    folder, mine = tmp_path / "thumbnails", tmp_path / "precious.jpg"
    on_disk(folder)
    (folder / "thumbnail-000000009-000004500ms.tmp").write_bytes(b"half")
    mine.write_text("mine")
    foreign = ["holiday.jpg", "thumbnail-1.jpg", "thumbnail-000000001-000000500ms.jpg.bak"]
    for name in foreign:
        (folder / name).write_text("mine")
    (folder / "thumbnail-000000077-000000500ms.jpg").symlink_to(mine)
    (folder / "thumbnail-000000078-000000500ms.jpg").mkdir()
    with files(folder)[1].open("rb") as file:
        archive = Archive(NONE, folder, 100 * FILE)
        assert file.read() == bytes(FILE), "overwritten, not only unlinked"
    assert held(archive, 3) == [] and archive.on_disk == 0 and archive.fault == ""
    assert len(files(folder)) == len(foreign) + 2 and mine.read_text() == "mine"
    assert all((folder / name).read_text() == "mine" for name in foreign)


def test_a_link_in_the_place_of_a_picture_takes_nothing_with_it(tmp_path):
    archive, mine = on_disk(tmp_path / "thumbnails", 1), tmp_path / "precious.jpg"
    mine.write_text("mine")
    (path,) = files(tmp_path / "thumbnails")
    path.unlink()
    path.symlink_to(mine)
    archive.clear()
    assert mine.read_text() == "mine" and files(tmp_path / "thumbnails") == []
