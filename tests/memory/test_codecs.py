"""Memories that pack what is old: more frames for the same bytes, and near enough to the exact."""
import pytest
import torch

from made_up import HEADS, MadeUpModel, keys_of, pinned_cache, watch
from memory.methods import FRAME, TINY
from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.memory.base import question_queries
from streamassist.memory.packed import PackedMemory

QUESTION = "What did you see?"
EXACT = 256   # bytes of one token's key and value: 2 x 2 layers x 2 heads x 8 channels x 4
CODECS = ("kivi", "vidkv", "cachegen", "spherical", "streaming_tom")
each = pytest.mark.parametrize("name", CODECS)


def run(name: str, frames: int, **settings) -> tuple[PackedMemory, KVCache]:
    policy, cache = METHODS[name](**{**TINY[name].settings, **settings}), pinned_cache()
    policy.attach(MadeUpModel())
    for frame in range(frames):
        watch(policy, cache, frame)
    return policy, cache


@each
def test_more_frames_fit_in_the_same_bytes(name):
    policy, cache = run(name, 120)
    assert 10 * EXACT < policy.packed_bytes <= (40 - 20) * EXACT
    held = [*policy.stored_frames(), *cache.frames()]
    assert held == list(range(held[0], 120))
    assert len(held) > 1.3 * 40 / FRAME


@each
def test_what_is_read_is_near_what_was_seen(name):
    policy, cache = run(name, 12, budget=400, most_tokens=400)
    answer = policy.before_answer(cache, QUESTION)
    assert answer.frames() == list(range(12))
    exact = torch.cat([keys_of(frame, FRAME) for frame in range(12)], 2)
    old = 12 * FRAME - len(cache)
    for got, true in ((answer.raw, exact), (answer.value, exact + 1)):
        got = got[:, :, 3 : answer.size]
        assert torch.equal(got[:, :, old:], true[:, :, old:])   # the window is exact
        lost = (got - true)[:, :, :old].norm() / true[:, :, :old].norm()
        assert 0 < lost < {"vidkv": 0.6, "kivi": 0.35}.get(name, 0.2)


@each
def test_reset_frees_the_store(name):
    policy, _ = run(name, 30)
    assert policy.packed_bytes > 0
    policy.reset()
    assert policy.packed_bytes == 0 and policy.stored_frames() == []


@each
def test_nothing_is_packed_while_the_window_has_room(name):
    policy, cache = run(name, 20 // FRAME)
    assert policy.packed_bytes == 0 and policy.before_answer(cache, QUESTION) is cache


def test_kivi_by_hand():
    """Nine frames, a window of two: pages of one frame, 64 digits for keys and as many for values,
    four to a byte; 32 groups of 4 tokens and 16 groups of 8 channels with 2 x 2 bytes each."""
    policy, cache = run("kivi", 9, budget=400, residual=8, page=4)
    assert policy.stored_frames() == [0, 1, 2, 3, 4, 5, 6] and cache.frames() == [7, 8]
    keys, values = 128 // 4 + 32 * 4, 128 // 4 + 16 * 4
    assert policy.packed_bytes == 7 * (keys + values)


def test_the_oldest_page_leaves():
    """Room for 4 exact tokens is 1024 bytes, four pages of 256 (see above)."""
    policy, _ = run("kivi", 9, budget=12, residual=8, page=4)
    assert policy.packed_bytes == 1024 and policy.stored_frames() == [3, 4, 5, 6]


def test_an_answer_reads_pages_at_even_distances():
    """Room for three of the pages 0 to 9, behind them the window."""
    policy, cache = run("kivi", 12, budget=400, residual=8, page=4, most_tokens=20)
    assert policy.before_answer(cache, QUESTION).frames() == [0, 4, 9, 10, 11]
    policy.most_tokens = 8
    assert policy.before_answer(cache, QUESTION).frames() == [10, 11]


def test_pages_hold_whole_frames_of_at_least_a_groups_tokens():
    policy, _ = run("kivi", 12, budget=400, residual=16, page=8)
    assert {len(page.slots) for page in policy._pages} == {8}


class Planted(MadeUpModel):
    """Frame 7 has the keys that the question asks for."""

    def forward(self, chunk, cache: KVCache) -> torch.Tensor:
        start = cache.size
        logits = super().forward(chunk, cache)
        if chunk.frame == 7:
            queries = question_queries(MadeUpModel(), cache, QUESTION).mean(2)
            asked = queries.unflatten(1, (HEADS, -1)).mean(2)[:, :, None]
            cache.raw[:, :, start : cache.size] = 5 * asked
        return logits


def test_streaming_tom_finds_the_planted_frame():
    policy = METHODS["streaming_tom"](budget=120, residual=20, most_tokens=36)
    policy.attach(Planted())
    cache = pinned_cache()
    for frame in range(40):
        watch(policy, cache, frame)
    assert 7 in policy.stored_frames()
    assert policy.evidence() == []
    answer = policy.before_answer(cache, QUESTION)
    found = policy.evidence()
    assert found[0][0] == 7 and found[0][1] == 1.0
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    assert len(found) == (36 - 20) // FRAME and len(answer) == 36
    assert answer.frames() == sorted([f for f, _ in found] + cache.frames())
    other = policy.before_answer(cache, "And what else?")
    assert other.frames() != answer.frames()


def test_all_read_something_of_their_own():
    names = (*CODECS, "last_n", "uniform")
    read = {}
    for name in names:
        policy, cache = TINY[name].make(name), pinned_cache()
        for frame in range(60):
            watch(policy, cache, frame)
        answer = policy.before_answer(cache, QUESTION)
        read[name] = answer.raw[:, 0, 3 : answer.size, 0].tolist()
    for name in CODECS:
        assert not [other for other in names if other != name and read[other] == read[name]]


@each
def test_a_window_as_large_as_the_budget_is_refused(name):
    with pytest.raises(StreamAssistError, match="memory setting residual"):
        METHODS[name](budget=64, residual=64)
