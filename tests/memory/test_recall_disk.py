"""recall with a folder: hours on disk, and a stream that goes on whatever happens there."""
import errno

import pytest
import torch

from made_up import HEADS, LAYERS, pinned_cache
from memory.test_recall import Words, look_at
from page_samples import block_of
from streamassist.memory import METHODS
from streamassist.pages import PageStore

PAGE = LAYERS * HEADS * 4 * 8 * 2 * 4   # bytes of a frame's keys and values
DOG, CAT = 3, 5


def on_disk(folder, disk_bytes: int = 1 << 20, **settings):
    """One recent frame, one page in RAM, the others in the folder."""
    policy = METHODS["recall"](
        **{"recent": 1, "pages": 1, "stored": 4, "kept": 1.0, **settings}
    )
    policy.attach(Words())
    policy.use_disk(folder, disk_bytes)
    return policy, pinned_cache()


def show(policy, cache, directions, first: int = 0) -> None:
    for frame, direction in enumerate(directions, first):
        look_at(policy, cache, frame, direction)


def files(folder) -> list:
    return sorted(folder.glob("page-*.safetensors"))


def test_what_ram_cannot_hold_is_found_on_disk(tmp_path):
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [DOG, *[0, 1, 2] * 6])
    assert len(files(tmp_path)) >= 15 and policy.held_frames() == set(range(18))
    assert policy.bytes()["disk"] == sum(f.stat().st_size for f in files(tmp_path))
    answer = policy.before_answer(cache, "Was there a dog?")
    assert answer.frames() == [0, 18]
    in_ram, _ = on_disk(tmp_path / "other")
    whole = METHODS["recall"](recent=1, pages=1, stored=400, kept=1.0)
    whole.attach(Words())
    again = pinned_cache()
    show(whole, again, [DOG, *[0, 1, 2] * 6])
    exact = whole.before_answer(again, "Was there a dog?")
    torch.testing.assert_close(answer.value[:, :, : answer.size], exact.value[:, :, : exact.size],
                               atol=0.02, rtol=0)   # 8 bits


def test_a_full_disk_keeps_what_is_unlike(tmp_path):
    policy, cache = on_disk(tmp_path, disk_bytes=60_000)
    show(policy, cache, [DOG, CAT, *[0, 1] * 60])
    assert policy.bytes()["disk"] <= 60_000 and len(files(tmp_path)) < 60
    assert {0, 1} <= policy.held_frames()
    assert policy.before_answer(cache, "Was there a dog?").frames()[0] == 0
    assert not policy.fault


def test_the_pages_of_a_run_that_broke_off_are_part_of_memory(tmp_path):
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [DOG, 0, 1, 2, 0, 1])
    after, cache = on_disk(tmp_path)
    show(after, cache, [2, 0, 1], first=6)
    assert after.before_answer(cache, "Was there a dog?").frames() == [0, 8]


def test_pages_that_cannot_be_found_again_are_removed_at_the_start(tmp_path):
    PageStore(0, 1 << 20, tmp_path).put(block_of(0))
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [DOG, 0, 1])
    assert policy.before_answer(cache, "Was there a dog?").frames() == [0, 2]


def test_what_is_forgotten_leaves_the_disk(tmp_path):
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [0, 1, 2, DOG, 0, 1, 2])
    dog = [f for f in files(tmp_path) if policy._store.pages()[int(f.stem[5:])].frames == (3,)]
    with dog[0].open("rb") as kept_open:
        policy.forget(cache, 1.5)
        assert not any(kept_open.read()), "the bytes are still there"
    assert not dog[0].exists() and policy.held_frames() == {0, 1, 2}
    show(policy, cache, [0, 1], first=7)
    assert 3 not in policy.before_answer(cache, "Was there a dog?").frames()
    policy.reset()
    assert not files(tmp_path)


@pytest.mark.parametrize("harm", ["flip", "vanish", "cut"])
def test_a_harmed_page_is_dropped_and_told_and_the_next_best_is_read(tmp_path, harm):
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [DOG, 0, 1, 2, DOG, 0, 1, 2])
    policy.before_answer(cache, "Was there a dog?")
    best = policy.evidence()[0][0]
    number = next(i for i, p in policy._store.pages().items() if p.frames == (best,))
    show(policy, cache, [0, 1, 2], first=8)   # out of RAM again
    page = tmp_path / f"page-{number:09}.safetensors"
    if harm == "flip":
        data = bytearray(page.read_bytes())
        data[-10] ^= 1
        page.write_bytes(data)
    elif harm == "cut":
        page.write_bytes(page.read_bytes()[:-200])
    else:
        page.unlink()
    answer = policy.before_answer(cache, "Was there a dog?")
    assert {0, 4} - {best} <= set(answer.frames()) and best not in answer.frames()
    assert policy.evidence()[0][0] == ({0, 4} - {best}).pop()
    assert page.name in policy.fault
    show(policy, cache, [0, 1], first=11)
    assert best not in policy.held_frames() and 12 in cache.frames()


def test_a_disk_that_fills_up_costs_pages_not_the_stream(tmp_path):
    policy, cache = on_disk(tmp_path)
    show(policy, cache, [DOG, 0, 1, 2])

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    policy._store.write = full
    show(policy, cache, [0, 1, 2, 0, 1], first=4)
    assert "the disk is full" in policy.fault and policy._store.dropped
    assert policy.before_answer(cache, "Was there a dog?").frames() == [0, 8]
    assert len(policy._index) <= len(policy._store) + 1
