"""What every memory policy owes, on a bare cache with made-up keys."""
import copy

import pytest
import torch

from made_up import add_frame, pinned_cache
from streamassist.memory import METHODS
from streamassist.types import Role

FRAME = 4   # tokens a frame
POLICIES = {
    "full": (METHODS["full"](max_tokens=400), 400),
    "last_n": (METHODS["last_n"](frames=4), 4 * FRAME),
    "attention_sinks": (METHODS["attention_sinks"](sink_frames=1, budget=40), 40),
    "uniform": (METHODS["uniform"](budget=40), 40),
    "random": (METHODS["random"](budget=40), 40),
}
each = pytest.mark.parametrize("name", POLICIES)


def run(name: str, frames: int, num_axes: int = 1):
    policy, budget = copy.deepcopy(POLICIES[name][0]), POLICIES[name][1]
    cache = pinned_cache(num_axes)
    for frame in range(frames):
        add_frame(cache, frame)
        policy.after_prefill(cache)
        assert len(cache) <= budget
    return cache


def test_every_method_is_tested():
    assert set(POLICIES) == set(METHODS)


@each
def test_budget_prompt_and_order_over_ten_thousand_frames(name):
    cache = run(name, 10_000)
    used = cache.used()
    assert used.role[: cache.num_pinned].tolist() == [Role.PROMPT] * 3
    frames = cache.frames()
    assert frames == sorted(set(frames)) and frames[-1] == 9_999
    assert torch.all(used.position[0].diff() > 0)
    assert torch.all(used.pts[cache.num_pinned :].diff() >= 0)
    assert cache.capacity < 2_000


@each
@pytest.mark.parametrize("num_axes", [1, 3])
def test_nothing_happens_before_the_budget_is_reached(name, num_axes):
    cache, plain = run(name, 4, num_axes), pinned_cache(num_axes)
    for frame in range(4):
        add_frame(plain, frame)
    assert torch.equal(cache.raw[:, :, : cache.size], plain.raw[:, :, : plain.size])
    assert torch.equal(cache.rotated[:, :, : cache.size], plain.rotated[:, :, : plain.size])
    assert torch.equal(cache.used().position, plain.used().position)


@each
def test_replay_gives_the_same_state(name):
    one, two = run(name, 137), run(name, 137)
    assert one.frames() == two.frames()
    assert torch.equal(one.rotated[:, :, : one.size], two.rotated[:, :, : two.size])


@each
def test_harmless_on_an_empty_cache(name):
    policy, cache = copy.deepcopy(POLICIES[name][0]), pinned_cache()
    policy.after_prefill(cache)
    policy.before_answer(cache, "what?")
    policy.after_answer(cache)
    assert cache.size == 3


@each
def test_whole_frames_leave(name):
    cache = run(name, 137)
    used = cache.used()
    _, counts = torch.unique_consecutive(used.frame[used.role == Role.VISUAL], return_counts=True)
    assert set(counts.tolist()) == {FRAME}


@each
@pytest.mark.parametrize("num_axes", [1, 3])
def test_positions_are_contiguous(name, num_axes):
    """After eviction the kept frames stand as if they alone had been seen."""
    cache, plain = run(name, 137, num_axes), pinned_cache(num_axes)
    for frame in cache.frames():
        add_frame(plain, frame)
    relative = cache.used().position - cache.used().position[:1, :1]
    assert torch.equal(relative, plain.used().position)


KEPT_OF_NINE = {   # by hand: 9 frames of 4 tokens, room for 3 frames
    "full": (METHODS["full"](max_tokens=12), [6, 7, 8]),
    "last_n": (METHODS["last_n"](frames=3), [6, 7, 8]),
    "attention_sinks": (METHODS["attention_sinks"](budget=12), [0, 7, 8]),
    "uniform": (METHODS["uniform"](budget=12), [0, 4, 8]),
}


@pytest.mark.parametrize("name", KEPT_OF_NINE)
def test_hand_computed_example(name):
    policy, kept = KEPT_OF_NINE[name]
    cache = pinned_cache()
    for frame in range(9):
        add_frame(cache, frame)
        policy.after_prefill(cache)
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
