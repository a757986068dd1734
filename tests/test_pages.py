"""Pages of memory: quotas, files, opening again; any order of whatever may happen."""
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from made_up import LAYERS, keys_of
from page_samples import HELD, KEY, ROOM, block_of, files, len_of_file, on_disk, same
from streamassist.errors import StreamAssistError
from streamassist.pages import PageStore
from streamassist.slots import Block

# ---------------------------------------------------------------- holding

def test_a_page_comes_back_from_ram_with_its_facts():
    store = PageStore(ROOM)
    i = store.put(block_of(4, frames=2), "thumb/4.jpg")
    ((page, block),) = store.get([i])
    same(block, block_of(4, frames=2))
    assert page.frames == (4, 5) and (page.first, page.last) == (2.0, 2.5)
    assert page.tokens == 8 and page.thumbnail == "thumb/4.jpg"
    torch.testing.assert_close(page.key, keys_of(4, 8).mean(2))


@pytest.mark.parametrize("planes", [1, LAYERS])
def test_a_page_comes_back_from_disk_as_it_was(tmp_path, planes):
    store = on_disk(tmp_path)
    i = store.put(block_of(4, planes=planes), "thumb/4.jpg")
    assert store.bytes() == {"ram": KEY, "disk": sum(p.stat().st_size for p in files(tmp_path))}
    ((page, block),) = store.get([i])
    same(block, block_of(4, planes=planes))
    assert page.frames == (4,) and page.thumbnail == "thumb/4.jpg"


def test_half_precision_survives_the_disk(tmp_path):
    block = block_of(1)
    half = Block(block.raw.bfloat16(), block.value.bfloat16(), block.slots)
    store = on_disk(tmp_path)
    same(store.get([store.put(half)])[0][1], half)


def test_pages_come_in_order_of_time_whatever_order_they_were_put_or_asked_in():
    store = PageStore(ROOM)
    ids = [store.put(block_of(frame)) for frame in (6, 2, 9, 4)]
    assert [page.frames[0] for page, _ in store.get(reversed(ids))] == [2, 4, 6, 9]
    assert [page.frames[0] for page in store.pages().values()] == [2, 4, 6, 9]


def test_what_was_used_longest_ago_leaves_first():
    store = PageStore(3 * HELD)
    first, second, third = (store.put(block_of(frame)) for frame in range(3))
    store.get([first])
    fourth = store.put(block_of(3))
    assert list(store.pages()) == [first, third, fourth] and store.left == 1
    assert store.dropped == 0, "leaving for want of room is no fault"
    assert store.get([second]) == []


def test_from_ram_to_disk_to_nothing(tmp_path):
    size = len_of_file(tmp_path / "try")
    store = PageStore(HELD + 2 * KEY, 2 * size, tmp_path / "pages")
    ids = [store.put(block_of(frame)) for frame in range(5)]
    assert list(store.pages()) == ids[2:] and store.left == 2
    assert len(files(tmp_path / "pages")) == 2 and store.bytes()["disk"] == 2 * size
    for (_, block), frame in zip(store.get(ids), (2, 3, 4), strict=True):
        same(block, block_of(frame))


def test_a_page_that_fits_nowhere_is_refused_and_an_empty_one_too(tmp_path):
    assert PageStore(HELD - 1).put(block_of(0)) is None
    assert PageStore(KEY, 100, tmp_path).put(block_of(0)) is None
    assert files(tmp_path) == []
    assert PageStore(ROOM).put(block_of(0, frames=0)) is None


def test_quotas_that_make_no_sense_are_told(tmp_path):
    with pytest.raises(StreamAssistError, match="negative"):
        PageStore(-1)
    with pytest.raises(StreamAssistError, match="quota"):
        PageStore(ROOM, 0, tmp_path)


# ---------------------------------------------------------------- codec

def int8(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    scale = tensor.abs().amax(-1, keepdim=True).clamp(min=1e-9) / 127
    return {"code": (tensor / scale).round().to(torch.int8), "scale": scale}


def back(parts: dict[str, torch.Tensor]) -> torch.Tensor:
    return parts["code"] * parts["scale"]


def test_a_codec_makes_files_smaller_and_what_it_costs_is_within_its_step(tmp_path):
    plain, packed = on_disk(tmp_path / "a"), on_disk(tmp_path / "b", codec=(int8, back))
    i, j = (store.put(block_of(3, frames=4)) for store in (plain, packed))
    assert packed.bytes()["disk"] < plain.bytes()["disk"]
    block = packed.get([j])[0][1]
    same(block, plain.get([i])[0][1], atol=float(block.value.abs().max()) / 127)
    assert not torch.equal(block.raw, block_of(3, frames=4).raw)


def test_a_file_of_another_codec_is_dropped_not_misread(tmp_path):
    i = on_disk(tmp_path, codec=(int8, back)).put(block_of(0))
    store = on_disk(tmp_path)
    assert store.get([i]) == [] and store.reasons == {"damaged": 1}


# ---------------------------------------------------------------- opening again

def test_a_folder_opened_again_has_the_same_pages(tmp_path):
    ids = [on_disk(tmp_path).put(block_of(frame), f"{frame}.jpg") for frame in range(3)]
    store = on_disk(tmp_path)
    assert list(store.pages()) == ids == [0, 1, 2]
    assert [p.thumbnail for p in store.pages().values()] == ["0.jpg", "1.jpg", "2.jpg"]
    same(store.get([1])[0][1], block_of(1))
    assert store.put(block_of(7)) == 3


def test_half_written_files_are_removed_and_foreign_ones_left_alone(tmp_path):
    on_disk(tmp_path).put(block_of(0))
    whole = files(tmp_path)[0].read_bytes()
    (tmp_path / "page-000000004.tmp").write_bytes(whole[:100])
    (tmp_path / "page-000000005.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "holiday.tmp").write_text("mine")
    store = on_disk(tmp_path)
    assert [p.name for p in files(tmp_path)] == ["holiday.tmp", "page-000000000.safetensors"]
    assert list(store.pages()) == [0] and store.dropped == 2
    assert store.put(block_of(1)) == 6, "the number of a file that was there is not used again"


def test_a_smaller_quota_is_kept_to_from_the_start(tmp_path):
    size = len_of_file(tmp_path / "try")
    store = on_disk(tmp_path)
    for frame in range(4):
        store.put(block_of(frame))
    again = on_disk(tmp_path, disk=2 * size)
    assert list(again.pages()) == [2, 3]
    assert len([p for p in files(tmp_path) if p.is_file()]) == 2


# ---------------------------------------------------------------- properties

class Pages(RuleBasedStateMachine):
    """Any order of put, get, forget, harm and reopening: what comes back is what was put, quotas
    hold, and what was forgotten stays so."""

    @initialize(ram=st.integers(0, 5), disk=st.integers(1, 6))
    def open(self, ram: int, disk: int) -> None:
        self.box = tempfile.TemporaryDirectory()
        self.folder = Path(self.box.name) / "pages"
        self.quotas = ram * HELD + 20 * KEY, disk * 2500
        self.put_at: dict[int, tuple[int, int]] = {}   # id -> (frame, frames)
        self.frame = 0
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.store = PageStore(*self.quotas, self.folder)
        self.put_at = {i: self.put_at[i] for i in self.store.pages()}

    @rule(frames=st.integers(1, 3))
    def put(self, frames: int) -> None:
        i = self.store.put(block_of(self.frame, frames))
        if i is not None:
            self.put_at[i] = self.frame, frames
        self.frame += frames

    @precondition(lambda self: self.put_at)
    @rule(data=st.data())
    def get(self, data) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.put_at)), unique=True))
        there = self.store.pages()
        found = self.store.get(ids)
        assert [p.frames[0] for p, _ in found] == sorted(self.put_at[i][0] for i in ids
                                                          if i in there)
        for page, block in found:
            same(block, block_of(page.frames[0], len(page.frames)))

    @rule(age=st.integers(0, 8))
    def forget(self, age: int) -> None:
        since = (self.frame - age) * 0.5
        self.store.forget(since)
        for i, (frame, frames) in list(self.put_at.items()):
            if (frame + frames - 1) * 0.5 >= since:
                assert i not in self.store.pages()
                del self.put_at[i]

    @rule(data=st.data())
    def harm(self, data) -> None:
        if found := files(self.folder):
            path = data.draw(st.sampled_from(found))
            path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, 400))])
            i = int(path.stem.removeprefix("page-"))
            assert self.store.get([i]) == []
            del self.put_at[i]

    @invariant()
    def holds(self) -> None:
        sizes = self.store.bytes()
        assert sizes["ram"] <= self.quotas[0] and sizes["disk"] <= self.quotas[1]
        assert sizes["disk"] == sum(p.stat().st_size for p in files(self.folder))
        assert set(self.store.pages()) <= set(self.put_at)

    def teardown(self) -> None:
        if hasattr(self, "box"):
            self.box.cleanup()


Pages.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestPages = Pages.TestCase


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(1, 8))
def test_in_ram_the_newest_stay_when_nothing_is_asked_for(sizes, room):
    store, frame, put = PageStore(room * HELD), 0, []
    for count in sizes:
        i = store.put(block_of(frame, count))
        put.append(i)
        frame += count
    kept = list(store.pages())
    assert kept == [i for i in put[len(put) - len(kept):] if i is not None]
