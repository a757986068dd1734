"""Memories that score slots of the cache: what each keeps, by hand, and how they differ."""
from math import isqrt, log

import pytest
import torch

from made_up import (
    DIM,
    HEADS,
    LAYERS,
    MadeUpModel,
    append,
    frame_chunk,
    pinned_cache,
    text_chunk,
    watch,
)
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.memory.hermes import smooth
from streamassist.memory.live_vlm import tiers
from streamassist.memory.scored import newest
from streamassist.types import Role, VisualTokens

AXIS = torch.eye(DIM)
STEADY = AXIS[3]   # the direction that rotary embedding turns least: scores there can be foretold


class Looking(MadeUpModel):
    """All its queries are alike: a key of s * STEADY gets attention in proportion to exp(s)."""

    def queries_of(self, chunk, cache) -> torch.Tensor:
        self.forward(chunk, cache)
        return (DIM**0.5 * STEADY).expand(LAYERS, 2 * HEADS, chunk.positions.shape[1], DIM)


def made(name: str, model: type[MadeUpModel] = Looking, **settings):
    policy = METHODS[name](**settings)
    policy.attach(model())
    return policy, pinned_cache()


def show(policy, cache, frame: int, keys, values=None, pts: float | None = None) -> None:
    """A frame with these keys (S, D), and values of these sizes (S,), in all layers and heads."""
    rows = torch.stack(list(keys))
    sizes = torch.arange(len(rows), dtype=torch.float32) if values is None else values
    value = torch.as_tensor(sizes)[:, None] * AXIS[0]
    chunk = frame_chunk(cache, frame, isqrt(len(rows)), pts)
    with cache.appending(chunk):
        for layer in range(LAYERS):
            cache.update(layer, rows.expand(HEADS, -1, -1), value.expand(HEADS, -1, -1))
    if policy.frame_queries:
        policy.queries = (DIM**0.5 * STEADY).expand(LAYERS, 2 * HEADS, len(rows), DIM)
    policy.after_prefill(cache)


def kept(cache) -> list[list[int]]:
    """Frame of each slot in each layer."""
    return [cache.used(layer).frame[cache.num_pinned :].tolist() for layer in range(LAYERS)]


def held(cache, layer: int) -> list[float]:
    """Size of the value in each slot of a layer."""
    return cache.value[layer, 0, cache.num_pinned : cache.size, 0].tolist()


# ---------------------------------------------------------------- shared parts

def test_the_newest_frames_that_fit():
    policy, cache = made("last_n", frames=9)
    assert newest(cache, 100) == 0
    for frame in range(3):
        watch(policy, cache, frame)
    assert [newest(cache, tokens) for tokens in (0, 4, 7, 8, 12, 99)] == [4, 4, 4, 8, 12, 12]


@pytest.mark.parametrize("budget, chunk, sizes", [
    (40, 1, {36, 40}), (40, 3, {32, 36, 40}), (40, 100, {20, 24, 28, 32, 36, 40}), (1, 1, {4}),
])
def test_a_selection_makes_room_for_a_chunk_but_frees_at_most_half(budget, chunk, sizes):
    policy, cache = made("infinite_vggt", budget=budget, chunk=chunk)
    seen = set()
    for frame in range(60):
        watch(policy, cache, frame)
        seen.add(len(cache)) if frame > 8 else None
    assert seen == sizes - ({36} if chunk == 1 and budget == 40 else set())


@pytest.mark.parametrize("name", ["infinipot_v", "hermes", "live_vlm"])
def test_tokens_are_known_by_their_number_after_forgetting(name):
    """What is counted is the stream's tokens: frame f has the numbers 4 f to 4 f + 3."""
    policy, cache = made(name, MadeUpModel, budget=40, chunk=2)
    for frame in range(30):
        watch(policy, cache, frame)
    policy.forget(cache, since=14.0)   # frames 28 and 29
    cache.renumber()
    assert policy._arrival.shape == policy._place.shape == (LAYERS, len(cache))
    for layer in range(LAYERS):
        assert (policy._arrival[layer] // 4).tolist() == kept(cache)[layer]
        assert torch.equal(policy._place[layer], 3 - policy._arrival[layer] % 4)
    watch(policy, cache, 30)
    assert policy._place[0, -4:].tolist() == [3, 2, 1, 0]


# ---------------------------------------------------------------- StreamingVLM

TIMES = [0.0, 1.0, 5.0, 12.0, 17.0, 20.0]


@pytest.mark.parametrize("budget, frames", [(6, [2, 3, 4, 5]), (3, [3, 4, 5]), (1, [5])])
def test_streaming_vlm_by_hand(budget, frames):
    """At 20 s frames from 4 s on are within the window of 16 s."""
    policy, cache = made("streaming_vlm", budget=budget)
    for frame, pts in enumerate(TIMES):
        show(policy, cache, frame, [AXIS[0]], pts=pts)
    assert cache.frames() == frames
    assert cache.used().position[0].diff().eq(1).all()


@pytest.mark.parametrize("budget, words, frames", [(9, [0, 1, 5], 4), (5, [0, 1, 5], 2),
                                                   (3, [0, 1], 1)])
def test_streaming_vlm_keeps_the_first_and_the_last_words(budget, words, frames):
    """One word before each of six frames; two first and one last stay, and outlive frames."""
    policy, cache = made("streaming_vlm", budget=budget, text_sink=2, text_window=1)
    for frame, pts in enumerate(TIMES):
        append(cache, text_chunk(cache, 1, Role.TEXT, pts), seed=frame)
        show(policy, cache, frame, [AXIS[0]], pts=pts)
    used = cache.used()
    assert used.pts[used.role == Role.TEXT].tolist() == [TIMES[w] for w in words]
    assert len(cache.frames()) == frames


# ---------------------------------------------------------------- InfiniPot-V

def test_infinipot_v_by_hand():
    """Newest key x. Of cosines 1, 0, 0.7, -1 the half of the budget goes to frames 3 and 1; the
    last place to the larger value norm of frames 0 and 2, averaged over 7 slots in the first layer
    (1.75 and 4) and 3 in the second (2.5 and 1)."""
    x, y = AXIS[0], AXIS[1]
    policy, cache = made("infinipot_v", budget=4, chunk=1)
    for frame, (key, norm) in enumerate([(x, 4.), (y, 1.), (x + y, 1.), (-x, 1.), (x, 13.)]):
        show(policy, cache, frame, [key], [norm])
    assert kept(cache) == [[1, 2, 3, 4], [0, 1, 3, 4]]


def test_infinipot_v_compares_tokens_at_the_same_patch():
    """Two patches changed places since the old frame: they are new, the two others are not."""
    a, b, c, d = AXIS[:4]
    policy, cache = made("infinipot_v", budget=6, chunk=1)
    show(policy, cache, 0, [b, a, c, d])
    show(policy, cache, 1, [a, b, c, d])
    assert held(cache, 0) == held(cache, 1) == [0, 1, 0, 1, 2, 3]
    show(policy, cache, 2, [b, a, c, d])   # by now the two stand where c and d stood
    assert held(cache, 0)[:2] == [0, 1] and kept(cache)[0][:2] == [1, 1]


# ---------------------------------------------------------------- StreamMem

def test_stream_mem_by_hand():
    """Attention 1 2 4 3: token 2 stays, token 0 gives its slot to the mean (2 + 8 + 9) / 10."""
    policy, cache = made("stream_mem", budget=6, chunk=1)
    keys = [log(w) * STEADY for w in (1, 2, 4, 3)]
    show(policy, cache, 0, keys)
    show(policy, cache, 1, keys)
    for layer in range(LAYERS):
        assert held(cache, layer) == pytest.approx([1.9, 2, 0, 1, 2, 3], abs=1e-3)
    mean = (2 * log(2) + 4 * log(4) + 3 * log(3)) / 10
    assert float(cache.raw[0, 0, cache.num_pinned, 3]) == pytest.approx(mean, abs=1e-3)
    show(policy, cache, 2, keys)   # frame 1 gets its prototype; frame 0 had one, and competes
    assert kept(cache)[0][:2] == [1, 1] or kept(cache)[0][:2] == [0, 1]
    assert sum(size == pytest.approx(1.9, abs=1e-2) for size in held(cache, 0)) == 1


def test_stream_mem_averages_frames_that_look_alike():
    policy, cache = made("stream_mem", budget=40, chunk=3)
    for frame, tilt in enumerate([0.0, 0.2, 0.4, 0.0, 5.0]):   # a run has at most 3 frames
        embeds = (AXIS[0] + tilt * AXIS[1]).repeat(4, 1)
        tokens = VisualTokens(embeds, (1, 2, 2), frame * 0.5, frame, deepstack=(embeds * 2,))
        policy.observe(tokens, cache)
        policy.model.forward(policy.model.frame_chunk(tokens, cache.next_position), cache)
        policy.after_prefill(cache)
        if frame == 2:
            assert tokens.embeds[0, :2].tolist() == pytest.approx([1.0, 0.2])
            assert tokens.deepstack[0][0, :2].tolist() == pytest.approx([2.0, 0.4])
    assert cache.frames() == [2, 3, 4]
    assert cache.used().position[0].tolist() == list(range(cache.size))


# ---------------------------------------------------------------- HERMES

def test_hermes_by_hand():
    """Attention falls in the order 0 2 3 (1 and 4 alike), recency is 0 .14 .37 .67 1. The shallow
    layer drops the oldest frame; the deep one keeps 0, 2 and the newest, and of 1 and 3 the mean
    in the place of 3."""
    policy, cache = made("hermes", budget=4, chunk=1, shallow=0.5, deep=0.5)
    seen = zip((0.0, 90.0, 95.0, 98.0, 100.0), (3, 0, 2, 1, 0), strict=True)
    for frame, (pts, strength) in enumerate(seen):
        show(policy, cache, frame, [strength * STEADY], [float(frame)], pts)
    assert kept(cache) == [[1, 2, 3, 4], [0, 2, 3, 4]]
    assert held(cache, 0) == [1, 2, 3, 4] and held(cache, 1) == [0, 2, 2, 4]
    summary = cache.raw[1, 0, cache.num_pinned + 2]
    torch.testing.assert_close(summary, 0.5 * STEADY)


def test_hermes_smooths_with_the_same_token_one_layer_up():
    score = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.2]])
    arrival = torch.tensor([[2, 5, 7], [5, 6, 7]])   # token 2 is gone above
    mixed = smooth(score, arrival, torch.tensor([0, 2]))
    torch.testing.assert_close(mixed, torch.tensor([[1.0, 0.0, 0.47], [0.0, 1.0, 0.2]]))


# ---------------------------------------------------------------- LiveVLM

def test_live_vlm_fills_empty_buckets_by_hand():
    """Four buckets of two numbers: the best two fill the first two buckets, the third has no
    token, of the last the better one comes in."""
    attention = torch.tensor([[0.1, 0.5, 0.4, 0.05, 0.06, 0.2]])
    arrival = torch.tensor([[0, 1, 2, 3, 6, 7]])
    assert tiers(attention, arrival, 4, lead=0.5).tolist() == [[0, 2, 2, 0, 0, 1]]


def test_live_vlm_by_hand():
    """Frames 0 and 1 share a bucket, so 0 leaves, though 3 and 4 get less attention."""
    policy, cache = made("live_vlm", budget=5, chunk=1, short=0.2)
    for frame, strength in enumerate((0, 1, 2, -1, -2, 0)):
        show(policy, cache, frame, [strength * STEADY])
    assert kept(cache) == [[1, 2, 3, 4, 5]] * LAYERS


def test_live_vlm_recalls_the_page_that_matches_the_question():
    policy, cache = made("live_vlm", budget=40, chunk=1, page=4, read=0.2)
    for frame in range(40):
        if frame == 13:
            show(policy, cache, frame, [6 * STEADY] * 4)
        else:
            watch(policy, cache, frame)
    answer = policy.before_answer(cache, "What was it?")
    assert len(answer) < len(cache) and 39 in answer.frames()
    for layer in range(LAYERS):
        assert answer.used(layer).frame.tolist().count(13) == 4
    found = dict(policy.evidence())
    assert found[13] == max(found.values()) and policy.evidence()[0][1] == found[13]
    assert set(found) <= set(answer.frames())


# ---------------------------------------------------------------- InfiniteVGGT

def test_infinite_vggt_by_hand():
    """Frame 0 stays for good, 4 is the newest; of the rest 1 is most like the mean."""
    keys = AXIS[0], AXIS[1], AXIS[2], AXIS[1] + AXIS[3], AXIS[1]
    policy, cache = made("infinite_vggt", budget=4, chunk=1)
    for frame, key in enumerate(keys):
        show(policy, cache, frame, [key])
    assert kept(cache) == [[0, 2, 3, 4]] * LAYERS


# ---------------------------------------------------------------- all of them

SIX = {
    "streaming_vlm": {"budget": 40, "window_s": 4.0},
    **{name: {"budget": 40, "chunk": 1} for name in (
        "infinipot_v", "stream_mem", "hermes", "live_vlm", "infinite_vggt"
    )},
}


def test_each_keeps_something_else_than_the_others_and_the_controls():
    controls = {"last_n": {"frames": 10}, **{
        name: {"budget": 40} for name in ("uniform", "attention_sinks", "random")
    }}
    contents = {}
    for name, settings in {**SIX, **controls}.items():
        policy, cache = made(name, MadeUpModel, **settings)
        for frame in range(60):
            watch(policy, cache, frame)
        contents[name] = str([sorted(layer[0, cache.num_pinned : cache.size, 0].tolist())
                              for layer in cache.raw])
    assert len(set(contents.values())) == len(contents)


@pytest.mark.parametrize("name, field, value", [
    ("streaming_vlm", "window_s", -1.0), ("infinipot_v", "recent", 1.5), ("hermes", "deep", 0.95),
    ("stream_mem", "similar", 2.0), ("live_vlm", "page", 0), ("infinite_vggt", "chunk", 0),
])
def test_a_setting_out_of_range_is_named(name, field, value):
    with pytest.raises(StreamAssistError, match=field):
        METHODS[name](**{field: value})
