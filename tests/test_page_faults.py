"""What goes wrong with the files of pages, and what must be gone."""
import errno
import logging
from pathlib import Path

import pytest
import torch

from page_samples import HELD, ROOM, block_of, files, on_disk, same
from streamassist.pages import PageStore
from streamassist.pages.files import write_whole

# ---------------------------------------------------------------- faults

def test_a_flipped_bit_anywhere_never_gives_wrong_keys(tmp_path):
    store = on_disk(tmp_path)
    i = store.put(block_of(3), "3.jpg")
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        store = on_disk(tmp_path)
        for page, block in store.get([i]):   # a bit that carries nothing, of the padding
            same(block, block_of(3))
            assert page.frames == (3,) and page.thumbnail == "3.jpg"
        assert len(store) + store.dropped == 1
    assert store.dropped == 1, "the last one, in the values, was found"


@pytest.mark.parametrize("harm, reason", [
    (lambda p: p.unlink(), "vanished"),
    (lambda p: p.write_bytes(p.read_bytes()[:-20]), "damaged"),
    (lambda p: p.write_bytes(b""), "damaged"),
    (lambda p: p.write_bytes(p.read_bytes()[:-3] + b"\0\1\2"), "damaged"),
])
def test_a_page_that_goes_wrong_while_the_stream_runs(tmp_path, caplog, harm, reason):
    store = on_disk(tmp_path)
    ids = [store.put(block_of(frame)) for frame in range(3)]
    harm(files(tmp_path)[1])
    with caplog.at_level(logging.WARNING):
        found = store.get(ids)
    assert [page.frames for page, _ in found] == [(0,), (2,)]
    assert store.dropped == 1 and store.reasons == {reason: 1}
    assert [r.getMessage() for r in caplog.records] == [store.fault] and "page-" in store.fault
    assert len(files(tmp_path)) == 2
    assert store.bytes()["disk"] == sum(p.stat().st_size for p in files(tmp_path))


@pytest.mark.parametrize("code, reason", [
    (errno.ENOSPC, "disk full"), (errno.EIO, "not written"), (errno.EROFS, "not written"),
])
def test_a_disk_that_takes_no_more(tmp_path, caplog, code, reason):
    def write(path: Path, data: bytes) -> None:
        if path.name > "page-000000001":
            raise OSError(code, "as a disk would")
        write_whole(path, data)

    store = on_disk(tmp_path, write=write)
    with caplog.at_level(logging.WARNING):
        for frame in range(6):
            store.put(block_of(frame))
    assert [p.frames[0] for p in store.pages().values()] == [0]
    assert store.dropped == 5 and store.reasons == {reason: 5}
    assert len(caplog.records) == 1, "one sentence, not one a frame"
    same(store.get([0])[0][1], block_of(0))


def test_what_was_half_written_when_the_disk_was_full_is_taken_away(tmp_path, monkeypatch):
    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    store = on_disk(tmp_path)
    assert store.put(block_of(0)) is None
    assert files(tmp_path) == [] and store.reasons == {"disk full": 1}


def test_a_folder_that_cannot_be_used_leaves_ram(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        store = PageStore(2 * HELD, ROOM, tmp_path / "file" / "pages")
    ids = [store.put(block_of(frame)) for frame in range(3)]
    assert list(store.pages()) == ids[1:] and store.bytes()["disk"] == 0
    assert store.reasons == {"folder": 1} and "RAM alone" in caplog.records[0].getMessage()


def test_a_file_that_cannot_be_erased_is_told(tmp_path, monkeypatch):
    store = on_disk(tmp_path)
    store.put(block_of(0))

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert store.forget(0.0) == [0] and len(store) == 0
    assert store.reasons == {"not erased": 1} and "delete it" in store.fault


# ---------------------------------------------------------------- forgetting

def test_forgotten_pages_leave_no_bytes_anywhere(tmp_path, monkeypatch):
    store = PageStore(2 * HELD, ROOM, tmp_path)
    ids = [store.put(block_of(frame), f"secret-{frame}") for frame in range(6)]
    held = store.get([ids[5]])[0][1]
    seen, unlink = [], Path.unlink

    def watched(self: Path, missing_ok: bool = False) -> None:
        seen.append(self.read_bytes())
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    assert store.forget(1.0) == ids[2:]
    assert seen and not any(any(data) for data in seen), "zeros before the name went"
    left = b"".join(p.read_bytes() for p in files(tmp_path))
    for frame in range(6):
        raw = block_of(frame).raw.numpy().tobytes()[:64]
        there = frame < 2
        assert (raw in left) == there and (f"secret-{frame}".encode() in left) == there
    assert not held.raw.any() and not held.value.any()
    assert on_disk(tmp_path).get(ids[2:]) == []


def test_a_page_that_reaches_into_the_forgotten_time_goes_whole():
    store = PageStore(ROOM)
    store.put(block_of(0, frames=4))   # 0 to 1.5 s
    kept = store.put(block_of(0, frames=2))
    store.forget(1.5)
    assert list(store.pages()) == [kept]


def test_reset_leaves_nothing(tmp_path):
    store = PageStore(2 * HELD, ROOM, tmp_path)
    for frame in range(5):
        store.put(block_of(frame))
    store.reset()
    assert len(store) == 0 and store.bytes() == {"ram": 0, "disk": 0} and files(tmp_path) == []
    assert store.put(block_of(0)) == 0


def test_forgetting_reaches_tensors_made_in_inference_mode():
    with torch.inference_mode():
        block = block_of(0)
    store = PageStore(ROOM)
    store.put(block)
    store.forget(0.0)
    assert not block.raw.any()
