"""KVCache with slots that differ by layer; blocks that go out and come back; any order of these."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_up import (
    DIM,
    HEADS,
    LAYERS,
    MadeUpModel,
    add_frame,
    append,
    check_rotation,
    fresh_of,
    pinned_cache,
    text_chunk,
)
from streamassist.types import Role

AXES = pytest.mark.parametrize("num_axes", [1, 3])


# ---------------------------------------------------------------- different slots by layer

@AXES
def test_layers_may_keep_different_slots(num_axes):
    cache, whole = pinned_cache(num_axes), pinned_cache(num_axes)
    for frame in range(3):
        add_frame(cache, frame)
        add_frame(whole, frame)
    index = torch.tensor([[0, 1, 5, 10], [2, 3, 4, 11]])
    cache.keep_by_layer(index)
    cache.renumber(ranks=True)
    assert cache.layered and len(cache) == 4 and cache.frames() == [0, 1, 2]
    for layer in range(LAYERS):
        assert torch.equal(cache.raw[layer, :, 3:7], whole.raw[layer][:, index[layer] + 3])
        assert torch.equal(cache.value[layer, :, 3:7], whole.value[layer][:, index[layer] + 3])
        assert torch.equal(cache.used(layer).frame[3:], index[layer] // 4)
        torch.testing.assert_close(
            cache.rotated[layer, :, :7], fresh_of(cache, layer), atol=1e-6, rtol=0
        )


def test_ranks_close_the_gaps_inside_frames_in_every_layer():
    cache = pinned_cache()
    for frame in range(3):
        add_frame(cache, frame)
    end = cache.next_position
    cache.keep_by_layer(torch.tensor([[0, 1, 5, 10], [2, 3, 4, 11]]))
    cache.renumber(ranks=True)
    for layer in range(LAYERS):
        assert cache.used(layer).position[0].diff().tolist() == [1] * 6
    assert cache.next_position == end
    add_frame(cache, 3)
    cache.renumber()
    assert cache.used(1).position[0, -4:].diff().tolist() == [1, 1, 1]


@AXES
def test_the_same_selection_by_layer_and_for_all_is_the_same(num_axes):
    one, two = pinned_cache(num_axes), pinned_cache(num_axes)
    for cache in (one, two):
        for frame in range(3):
            add_frame(cache, frame)
    kept = torch.tensor([0, 3, 4, 5, 9])
    one.keep_by_layer(kept.expand(LAYERS, -1))
    mask = torch.zeros(12, dtype=torch.bool)
    mask[kept] = True
    two.keep(mask)
    for ranks in (False, True):
        one.renumber(ranks)
        two.renumber(ranks)
        assert torch.equal(one.used().position, two.used().position)
        torch.testing.assert_close(
            one.rotated[:, :, : one.size], two.rotated[:, :, : two.size], atol=1e-6, rtol=0
        )


@AXES
def test_a_branch_goes_off_and_on_when_layers_differ(num_axes):
    cache = pinned_cache(num_axes)
    for frame in range(3):
        add_frame(cache, frame)
    cache.keep_by_layer(torch.tensor([[0, 1, 5, 10], [2, 3, 4, 11]]))
    end = cache.size
    append(cache, text_chunk(cache, 5, Role.BRANCH), seed=7)
    before = cache.rotated[:, :, : cache.size].clone()
    branch = cache.lift(end)
    cache.put_back(branch)
    torch.testing.assert_close(cache.rotated[:, :, : cache.size], before, atol=1e-6, rtol=0)
    assert cache.used(1).role[-5:].tolist() == [Role.BRANCH] * 5


# ---------------------------------------------------------------- blocks out and in

@AXES
def test_a_block_comes_back_where_its_age_puts_it(num_axes):
    cache, whole = pinned_cache(num_axes), pinned_cache(num_axes)
    for frame in range(4):
        add_frame(cache, frame)
        add_frame(whole, frame)
    block = cache.copy_out(torch.arange(7, 11))          # frame 1
    cache.keep(torch.tensor([True] * 4 + [False] * 4 + [True] * 8))
    cache.renumber()
    cache.insert(block)
    assert cache.frames() == [0, 1, 2, 3]
    assert torch.equal(cache.raw[:, :, : cache.size], whole.raw[:, :, : whole.size])
    assert torch.equal(cache.used().position, whole.used().position)
    check_rotation(cache)


@AXES
def test_an_opening_with_all_blocks_is_the_cache_again(num_axes):
    cache = pinned_cache(num_axes)
    for frame in range(3):
        add_frame(cache, frame)
    copy = cache.opening()
    assert copy.num_pinned == copy.size == 3 and len(copy) == 0
    for frame in (2, 0, 1):                               # in any order
        copy.insert(cache.copy_out(torch.arange(4) + 3 + 4 * frame))
    assert torch.equal(copy.raw[:, :, : copy.size], cache.raw[:, :, : cache.size])
    assert torch.equal(
        copy.used().position - copy.used().position[0, 0], cache.used().position
    )
    check_rotation(copy)
    add_frame(copy, 3)
    assert copy.frames() == [0, 1, 2, 3] and cache.frames() == [0, 1, 2]


def test_an_empty_block_changes_nothing():
    cache = pinned_cache()
    cache.insert(cache.copy_out(torch.arange(0)))
    assert cache.size == 3 and cache.next_position == 3


# ---------------------------------------------------------------- any order of surgery

STEPS = st.lists(
    st.tuples(st.sampled_from(["frame", "text", "keep", "layers", "ranks", "gaps", "in"]),
              st.integers(0, 1000)),
    min_size=1, max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, num_axes=st.sampled_from([1, 3]))
def test_any_surgery_keeps_order_and_rotation(steps, num_axes):
    """Property: prompt first, ages ascending, rotated = fresh rotation, in every layer."""
    cache, out = pinned_cache(num_axes), []
    for number, (what, seed) in enumerate(steps):
        draw = torch.Generator().manual_seed(seed)
        size = len(cache)
        if what == "frame":
            add_frame(cache, number)
        elif what == "text":
            append(cache, text_chunk(cache, 1 + seed % 3, pts=number * 0.5), seed)
        elif what == "keep" and size and not cache.layered:
            mask = torch.rand(size, generator=draw) < 0.7
            gone = (~mask).nonzero()[:, 0] + cache.num_pinned
            out.append(cache.copy_out(gone))
            cache.keep(mask)
        elif what == "layers" and size > 1:
            order = torch.rand(LAYERS, size, generator=draw).argsort(1)
            cache.keep_by_layer(order[:, : size // 2 + 1].sort(1).values)
            out.clear()                       # what left differs by layer from here on
        elif what in ("ranks", "gaps"):
            cache.renumber(ranks=what == "ranks")
        elif what == "in" and out:
            cache.insert(out.pop())
    slots = cache.in_use()
    assert (slots.role[:, :3] == Role.PROMPT).all()
    assert (slots.group[:, 3:].diff() >= 0).all() and (slots.position[0].diff() >= 0).all()
    check_rotation(cache)


def test_the_made_up_model_stands_for_a_real_one():
    model, cache = MadeUpModel(), pinned_cache()
    queries = model.queries_of(model.text_chunk([1, 2], 3, Role.BRANCH, 0.0), cache)
    assert queries.shape == (LAYERS, 2 * HEADS, 2, DIM) and len(cache) == 2
