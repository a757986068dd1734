"""KVCache: surgery keeps the right slots, positions and rotations."""
import pytest
import torch

from kernels.dispatch import SWITCH
from kernels.gather_rotate import gather_rotate
from made_up import (
    DIM,
    HEADS,
    LAYERS,
    add_frame,
    append,
    frame_chunk,
    new_cache,
    pinned_cache,
    text_chunk,
)
from streamassist.cache import KVCache
from streamassist.rope import rotate
from streamassist.types import Role

AXES = pytest.mark.parametrize("num_axes", [1, 3])


def fresh(cache) -> torch.Tensor:
    """Keys rotated from raw to where the slots say they are."""
    cos, sin = cache.rope.cos_sin(cache.used().position)
    return rotate(cache.raw[:, :, : cache.size], cos, sin)


def assert_rotated(cache, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        cache.rotated[:, :, : cache.size], fresh(cache), atol=tolerance, rtol=0
    )


@AXES
def test_prompt_is_pinned_and_not_counted(num_axes):
    cache = pinned_cache(num_axes)
    assert len(cache) == 0 and cache.size == 3
    cache.keep(torch.zeros(0, dtype=torch.bool))
    cache.truncate(0)
    assert cache.size == 3 and set(cache.used().role.tolist()) == {Role.PROMPT}


@AXES
def test_keep_selects_the_same_slots_everywhere(num_axes):
    cache = pinned_cache(num_axes)
    for frame in range(3):
        add_frame(cache, frame)
    before, value = cache.raw[:, :, : cache.size].clone(), cache.value[:, :, : cache.size].clone()
    mask = torch.tensor([True, False, True, True] * 3)
    cache.keep(mask)
    index = torch.cat((torch.arange(3), mask.nonzero()[:, 0] + 3))
    assert torch.equal(cache.raw[:, :, : cache.size], before[:, :, index])
    assert torch.equal(cache.value[:, :, : cache.size], value[:, :, index])
    assert cache.frames() == [0, 1, 2] and len(cache) == 9
    assert_rotated(cache)


@AXES
def test_renumber_closes_gaps_and_keeps_the_layout_of_a_frame(num_axes):
    cache = pinned_cache(num_axes)
    for frame in range(4):
        add_frame(cache, frame)
    cache.keep(torch.tensor([False] * 8 + [True] * 8))
    cache.renumber()
    whole = pinned_cache(num_axes)
    for frame in (2, 3):
        add_frame(whole, frame)
    relative = cache.used().position - cache.used().position[0, 0]
    assert torch.equal(relative, whole.used().position)
    assert cache.next_position - int(cache.used().position[0, 0]) == whole.next_position
    assert_rotated(cache)


@AXES
def test_keys_are_gathered_and_turned_by_the_kernel_those_that_moved(num_axes, monkeypatch):
    turned = []

    def spy(raw, index, cos, sin):
        turned.append(index.shape[-1])
        return gather_rotate(raw, index, cos, sin)

    monkeypatch.setattr("streamassist.cache.gather_rotate", spy)
    cache = pinned_cache(num_axes)
    for frame in range(3):
        add_frame(cache, frame)
    block = cache.copy_out(torch.arange(3, 7))
    cache.keep(torch.tensor([False] * 4 + [True] * 8))
    cache.renumber()
    assert turned == [3]                # the prompt moved up
    cache.renumber()
    assert turned == [3]                # nothing moved
    cache.insert(block)
    assert turned == [3, cache.size]    # gathered in their new order and turned, all at once
    assert cache.frames() == [0, 1, 2] and cache.used().frame[3:7].tolist() == [0] * 4
    assert_rotated(cache)


def test_renumber_moves_only_the_slots_before_the_gap():
    cache = pinned_cache()
    for frame in range(4):
        add_frame(cache, frame)
    newest = cache.used().position[:, -4:].clone()
    cache.keep(torch.tensor([False] * 4 + [True] * 12))
    cache.renumber()
    assert torch.equal(cache.used().position[:, -4:], newest)
    assert cache.used().position[0, :4].tolist() == [4, 5, 6, 7]


@AXES
def test_a_thousand_moves_cost_no_accuracy(num_axes):
    cache = pinned_cache(num_axes)
    add_frame(cache, 0)
    for step in range(1000):
        cache.move(torch.full((cache.size,), 1 + step % 7))
    assert_rotated(cache)
    twin = pinned_cache(num_axes)
    add_frame(twin, 0)
    twin.move(torch.full((twin.size,), sum(1 + step % 7 for step in range(1000))))
    torch.testing.assert_close(
        cache.rotated[:, :, : cache.size], twin.rotated[:, :, : twin.size], atol=1e-5, rtol=0
    )


def test_a_thousand_moves_in_bfloat16_stay_within_one_percent():
    cache = new_cache(dtype=torch.bfloat16)
    append(cache, text_chunk(cache, 16), seed=5)
    exact_raw = cache.raw[:, :, :16].float()
    for _ in range(1000):
        cache.move(torch.ones(16, dtype=torch.int64))
    cos, sin = cache.rope.cos_sin(cache.used().position)
    exact = rotate(exact_raw, cos, sin)
    error = (cache.rotated[:, :, :16].float() - exact).norm() / exact.norm()
    assert error < 0.01


@AXES
def test_lift_and_put_back_restore_every_byte(num_axes):
    cache = pinned_cache(num_axes)
    add_frame(cache, 0)
    end, position = cache.size, cache.next_position
    append(cache, text_chunk(cache, 5, Role.BRANCH), seed=7)
    after = [b[:, :, : cache.size].clone() for b in (cache.raw, cache.rotated, cache.value)]
    branch = cache.lift(end)
    assert cache.size == end and cache.next_position == position
    cache.put_back(branch)
    for was, buffer in zip(after, (cache.raw, cache.rotated, cache.value), strict=True):
        torch.testing.assert_close(buffer[:, :, : cache.size], was, atol=1e-6, rtol=0)
    assert cache.next_position == position + 5


@AXES
def test_a_branch_can_follow_the_newest_frame(num_axes):
    cache = pinned_cache(num_axes)
    add_frame(cache, 0)
    end = cache.size
    append(cache, text_chunk(cache, 5, Role.BRANCH), seed=7)
    branch = cache.lift(end)
    add_frame(cache, 1)
    start = cache.next_position
    cache.put_back(branch, start)
    assert cache.used().position[0, -5:].tolist() == list(range(start, start + 5))
    assert cache.next_position == start + 5
    assert_rotated(cache)


def test_a_failed_forward_leaves_the_cache_as_it_was():
    cache = pinned_cache()
    add_frame(cache, 0)
    size, position = cache.size, cache.next_position
    with pytest.raises(ValueError), cache.appending(frame_chunk(cache, 1)):
        cache.update(0, torch.ones(2, 4, 8), torch.ones(2, 4, 8))
        raise ValueError("in the middle of a layer")
    assert (cache.size, cache.next_position) == (size, position)
    add_frame(cache, 1)
    assert cache.frames() == [0, 1]
    assert_rotated(cache)


def test_buffers_grow_and_keep_their_content():
    cache = pinned_cache()
    for frame in range(200):
        add_frame(cache, frame)
    assert cache.size == 803 and cache.capacity >= 803
    assert cache.bytes == 803 * cache.bytes_per_slot <= cache.allocated_bytes
    assert_rotated(cache)


def test_reset_leaves_no_byte():
    cache = pinned_cache()
    add_frame(cache, 0)
    cache.reset()
    assert cache.size == cache.num_pinned == cache.next_position == 0
    assert not any(b.any() for b in (cache.raw, cache.rotated, cache.value))
    assert cache.time_span() is None and cache.frames() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_the_kernel_turns_keys_to_the_same(monkeypatch):
    monkeypatch.setenv(SWITCH, "1")
    source = pinned_cache(3)
    for frame in range(6):
        add_frame(source, frame)
    block, caches = source.copy_out(torch.arange(source.size)), []
    for device in ("cpu", "cuda"):
        cache = KVCache(LAYERS, HEADS, DIM, source.rope, 3, device=device)
        cache.insert(block)
        cache.keep(torch.arange(cache.size) % 3 != 1)
        cache.renumber()
        caches.append(cache.rotated[:, :, : cache.size].cpu())
    torch.testing.assert_close(*caches, atol=1e-5, rtol=0)
