"""What every memory policy owes, on a bare cache with made-up keys."""
import os

import pytest
import torch

from made_up import MadeUpModel, add_frame, pinned_cache, watch
from memory.methods import FRAME, TINY
from streamassist.cache import KVCache
from streamassist.memory import METHODS
from streamassist.memory.base import MemoryPolicy
from streamassist.rope import rotate
from streamassist.types import Role

each = pytest.mark.parametrize("name", TINY)
whole = pytest.mark.parametrize("name", [n for n, t in TINY.items() if t.whole])
axes = pytest.mark.parametrize("num_axes", [1, 3])
QUESTION = "What did you see?"


def run(name: str, frames: int, num_axes: int = 1) -> tuple[MemoryPolicy, KVCache]:
    policy, cache = TINY[name].make(name, num_axes), pinned_cache(num_axes)
    for frame in range(frames):
        watch(policy, cache, frame)
        assert len(cache) <= TINY[name].most
    return policy, cache


def check(cache: KVCache) -> None:
    """The prompt is there, slots are in order in every layer, keys stand where the slots say."""
    slots = cache.in_use()
    assert (slots.role[:, : cache.num_pinned] == Role.PROMPT).all()
    assert (slots.role[:, cache.num_pinned :] != Role.PROMPT).all()
    assert (slots.group[:, cache.num_pinned :].diff() >= 0).all()
    assert (slots.pts[:, cache.num_pinned :].diff() >= 0).all()
    assert (slots.position[0].diff() >= 0).all()
    for layer in range(cache.num_layers):
        cos, sin = cache.rope.cos_sin(cache.used(layer).position)
        fresh = rotate(cache.raw[layer, :, : cache.size], cos, sin)
        torch.testing.assert_close(
            cache.rotated[layer, :, : cache.size], fresh, atol=1e-5, rtol=0
        )


def same(one: KVCache, two: KVCache) -> None:
    assert one.size == two.size and one.next_position == two.next_position
    for a, b in ((one.raw, two.raw), (one.value, two.value), (one.rotated, two.rotated)):
        torch.testing.assert_close(a[:, :, : one.size], b[:, :, : two.size], atol=1e-6, rtol=0)
    for a, b in zip(one.in_use().fields(), two.in_use().fields(), strict=True):
        assert torch.equal(a.broadcast_to(b.shape) if one.slots.planes == 1 else a,
                           b.broadcast_to(a.shape))


def test_every_method_is_tested():
    assert set(TINY) == set(METHODS)


def frames_of(name: str) -> int:
    """An hour and a half at 2 fps for those that cost little, else 17 minutes, to keep the whole
    run short: STREAMASSIST_LONG=1 gives all of them 10,000 frames."""
    plain = TINY[name].whole and not TINY[name].answer
    return 10_000 if plain or os.environ.get("STREAMASSIST_LONG") else 2_000


@each
def test_budget_prompt_and_order_over_thousands_of_frames(name):
    count = frames_of(name)
    policy, cache = run(name, count)
    check(cache)
    assert count - 1 in cache.frames()
    assert cache.capacity < 2_000
    answer = policy.before_answer(cache, QUESTION)
    check(answer)


@each
@axes
def test_nothing_happens_before_the_budget_is_reached(name, num_axes):
    if TINY[name].early:
        pytest.skip("it reduces every frame, as its own tests show")
    (_, cache), plain = run(name, 4, num_axes), pinned_cache(num_axes)
    for frame in range(4):
        add_frame(plain, frame)
    same(cache, plain)


@each
@axes
def test_order_and_rotation_hold_on_one_axis_and_on_three(name, num_axes):
    policy, cache = run(name, 60, num_axes)
    check(cache)
    check(policy.before_answer(cache, QUESTION))


@each
def test_replay_gives_the_same_state(name):
    one, two = run(name, 137)[1], run(name, 137)[1]
    same(one, two)


@each
def test_reset_leaves_nothing(name):
    policy, _ = run(name, 83)
    policy.before_answer(run(name, 20)[1], QUESTION)
    policy.reset()
    again = pinned_cache()
    for frame in range(50):
        watch(policy, again, frame)
    fresh_policy, fresh = run(name, 50)
    same(again, fresh)
    same(policy.before_answer(again, QUESTION), fresh_policy.before_answer(fresh, QUESTION))


@each
@pytest.mark.parametrize("since", [59 * 0.5, 57 * 0.5, 0.0])
def test_what_is_forgotten_is_gone_and_the_stream_goes_on(name, since):
    """The last frame, the last three, or all of 60 frames at 2 fps are forgotten."""
    policy, cache = run(name, 60)
    policy.before_answer(cache, QUESTION)
    policy.forget(cache, since)
    cache.renumber()
    cache.truncate(cache.size)
    answer = policy.before_answer(cache, QUESTION)
    for left in (cache, answer):
        assert (left.in_use().pts[:, left.num_pinned :] < since).all()
    assert all(frame * 0.5 < since for frame, _ in policy.evidence())
    policy.after_answer(cache)
    for frame in range(60, 100):
        watch(policy, cache, frame)
        assert len(cache) <= TINY[name].most
    check(cache)
    check(policy.before_answer(cache, QUESTION))
    assert 99 in cache.frames()


@each
def test_harmless_on_an_empty_cache(name):
    policy, cache = TINY[name].make(name), pinned_cache()
    policy.after_prefill(cache)
    assert policy.before_answer(cache, "what?").size == 3
    policy.after_answer(cache)
    assert cache.size == 3 and policy.evidence() == []


@each
def test_a_question_leaves_the_stream_as_it_was(name):
    policy, cache = run(name, 61)
    before = cache.copy_out(torch.arange(cache.size))
    answer = policy.before_answer(cache, QUESTION)
    assert len(answer) <= (TINY[name].answer or TINY[name].most)
    assert (answer is cache) == (TINY[name].answer == 0)
    again = policy.before_answer(cache, QUESTION)
    same(answer, again)
    policy.after_answer(cache)
    after = cache.copy_out(torch.arange(cache.size))
    assert torch.equal(before.raw, after.raw) and torch.equal(before.value, after.value)
    assert torch.equal(before.slots.group, after.slots.group[: before.slots.planes])


@whole
def test_whole_frames_leave(name):
    used = run(name, 137)[1].used()
    _, counts = torch.unique_consecutive(used.frame[used.role == Role.VISUAL], return_counts=True)
    assert set(counts.tolist()) == {FRAME}


@whole
@axes
def test_positions_are_contiguous(name, num_axes):
    """After eviction the kept frames stand as if they alone had been seen."""
    (_, cache), plain = run(name, 137, num_axes), pinned_cache(num_axes)
    for frame in cache.frames():
        add_frame(plain, frame)
    relative = cache.used().position - cache.used().position[:1, :1]
    assert torch.equal(relative, plain.used().position)


KEPT_OF_NINE = {   # by hand: 9 frames of 4 tokens, room for 3 frames
    "full": ({"max_tokens": 12}, [6, 7, 8]),
    "last_n": ({"frames": 3}, [6, 7, 8]),
    "attention_sinks": ({"budget": 12}, [0, 7, 8]),
    "uniform": ({"budget": 12}, [0, 4, 8]),
}


@pytest.mark.parametrize("name", KEPT_OF_NINE)
def test_hand_computed_example(name):
    settings, kept = KEPT_OF_NINE[name]
    policy, cache = METHODS[name](**settings), pinned_cache()
    policy.attach(MadeUpModel())
    for frame in range(9):
        watch(policy, cache, frame)
    assert cache.frames() == kept


def test_random_differs_from_its_relatives_and_is_fair():
    """Over many seeds each old frame is kept about equally often."""
    counts = torch.zeros(40)
    for seed in range(300):
        policy, cache = METHODS["random"](budget=20, seed=seed), pinned_cache()
        for frame in range(40):
            add_frame(cache, frame)
            policy.after_prefill(cache)
        counts[cache.frames()[:-1]] += 1
    assert counts[:39].sum() == 4 * 300
    assert 15 < counts[:20].mean() < 47 and counts[:39].min() > 5
