"""Memories that keep a ladder of layers, surprising tokens, carriers, or halves of events."""
import math

import pytest
import torch

from made_up import DIM, HEADS, LAYERS, MadeUpModel, add_frame, keys_of, pinned_cache, watch
from memory.methods import TINY
from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.memory.duo_attention import evenly
from streamassist.memory.lacache import LaCache
from streamassist.memory.live_star import worse_half
from streamassist.memory.neighbours import change
from streamassist.types import VisualTokens

LADDERS = ("lacache", "sirllm", "video_scan", "live_star", "duo_attention")


def make(name: str, model: MadeUpModel | None = None, **settings):
    policy = METHODS[name](**settings)
    policy.attach(model or MadeUpModel())
    return policy


def show(policy, cache: KVCache, frame: int, rows: torch.Tensor) -> None:
    """A frame of 2 x 2 tokens with these embeddings (4, F)."""
    tokens = VisualTokens(rows, (1, 2, 2), frame * 0.5, frame)
    policy.observe(tokens, cache)
    chunk = policy.model.frame_chunk(tokens, cache.next_position)
    if policy.frame_queries:
        policy.queries = policy.model.queries_of(chunk, cache)
    else:
        policy.model.forward(chunk, cache)
    policy.after_prefill(cache)


def frames_in(cache: KVCache, layer: int) -> list[int]:
    return cache.used(layer).frame[cache.num_pinned :].unique_consecutive().tolist()


def turned(degrees: float) -> torch.Tensor:
    """(4, 2): four rows of the same direction."""
    angle = math.radians(degrees)
    return torch.tensor([[math.cos(angle), math.sin(angle)]]).expand(4, 2)


# ---------------------------------------------------------------- LaCache

def test_lacache_by_hand():
    """Two layers, groups of 2, of which the first layer keeps the first and the second the second;
    the cursor goes on to the next group, and starts again when it nears the last two frames."""
    policy, cache = make("lacache", budget=24, span=1, recent=2, chunk=1), pinned_cache()
    kept = {}
    for frame in range(9):
        watch(policy, cache, frame)
        kept[frame] = [frames_in(cache, layer) for layer in range(2)]
    assert kept[5] == [[0, 1, 2, 3, 4, 5]] * 2
    assert kept[6] == [[0, 1, 3, 4, 5, 6], [0, 2, 3, 4, 5, 6]]
    assert kept[7] == [[0, 1, 3, 5, 6, 7], [0, 2, 4, 5, 6, 7]]
    assert kept[8] == [[0, 1, 3, 5, 7, 8], [0, 2, 4, 6, 7, 8]]


@pytest.mark.parametrize(
    "layers, span, overlap, rungs",
    [(32, 16, 0, (2, 1)), (32, 14, 0, (3, 1)), (32, 9, 3, (5, 2)), (30, 16, 0, (2, 1))],
)
def test_rungs_of_the_papers_ladders(layers, span, overlap, rungs):
    assert LaCache(span=span, overlap=overlap).rungs(layers) == rungs


@pytest.mark.parametrize("layers", [1, 2, 3, 24, 28, 36])
@pytest.mark.parametrize("span, overlap", [(1, 0), (9, 7), (16, 15)])
def test_a_group_always_loses_something(layers, span, overlap):
    group, run = LaCache(span=span, overlap=overlap).rungs(layers)
    assert group > run >= 1


def test_layers_keep_equally_many_when_frames_differ_in_size():
    policy, cache = make("lacache", budget=40, span=1, recent=1, chunk=1), pinned_cache()
    for frame in range(12):
        add_frame(cache, frame, side=1 + frame % 3)
        policy.after_prefill(cache)
        assert len(cache) <= 40 and frame in cache.frames()
        newest = cache.in_use().frame[:, -((1 + frame % 3) ** 2) :]
        assert (newest == frame).all()


# ---------------------------------------------------------------- SirLLM

def test_sirllm_by_hand():
    """The first token, the surprising third of frame 1, and of equals the later; frame 2 whole."""
    policy, cache = make("sirllm", budget=9, sink=1, chunk=1), pinned_cache()
    first = torch.eye(8)[:4]
    second = first.clone()
    second[2] = torch.eye(8)[7]
    for frame, rows in enumerate((first, second, second)):
        show(policy, cache, frame, rows)
    raw = torch.cat((keys_of(0, 4)[:, :, [0, 2, 3]], keys_of(1, 4)[:, :, [2]], keys_of(2, 4)), 2)
    assert torch.equal(cache.raw[:, :, 3 : cache.size], raw)


def test_old_surprise_fades():
    """All tokens of frame 0 are new, those of frame 1 half new: fading decides."""
    kept = []
    for decay in (1.0, 0.4):
        policy, cache = make("sirllm", budget=8, sink=0, chunk=1, decay=decay), pinned_cache()
        half = (torch.eye(8)[:4] + 3**0.5 * torch.eye(8)[4:]) / 2
        for frame, rows in enumerate((torch.eye(8)[:4], half, half)):
            show(policy, cache, frame, rows)
        kept.append(cache.frames())
    assert kept == [[0, 2], [1, 2]]


def test_change_looks_at_neighbours_only():
    rows = torch.eye(16)
    before = VisualTokens(rows, (1, 4, 4), 0.0, 0)
    shifted = VisualTokens(rows.roll(1, 0), (1, 4, 4), 0.5, 1)
    new = change(shifted, before)
    assert new.nonzero()[:, 0].tolist() == [0, 4, 8, 12]   # came from the other side of the row
    assert change(shifted, None).min() == 2
    some = VisualTokens(rows[[0, 5]], (1, 4, 4), 0.0, 0, places=torch.tensor([0, 5]))
    assert change(before, some)[[0, 5, 10]].tolist() == [0, 0, 1]


# ---------------------------------------------------------------- VideoScan

class Looking(MadeUpModel):
    """The last token of every frame looks at the second one and hardly anywhere else."""

    def forward(self, chunk, cache: KVCache) -> torch.Tensor:
        raw = torch.zeros(LAYERS, HEADS, chunk.positions.shape[1], DIM)
        raw[:, :, 1, 3] = 9   # a channel that turns slowly
        with cache.appending(chunk):
            for layer in range(LAYERS):
                cache.update(layer, raw[layer], raw[layer])
        return torch.zeros(16)

    def queries_of(self, chunk, cache: KVCache) -> torch.Tensor:
        self.forward(chunk, cache)
        queries = torch.zeros(LAYERS, self.query_heads, chunk.positions.shape[1], DIM)
        queries[:, :, 0, 1], queries[:, :, -1, 3] = 9, 9
        return queries


def test_video_scan_by_hand():
    """Of frame 1 and 2, which look alike, the earlier goes; of older frames the second token and
    the carrier stay."""
    policy, cache = make("video_scan", Looking(), frames=3, top=1), pinned_cache()
    for frame, degrees in enumerate((0, 80, 85, 175)):
        show(policy, cache, frame, turned(degrees))
    assert cache.used().frame[3:].tolist() == [0, 0, 2, 2, 3, 3, 3, 3]
    assert cache.raw[0, 0, 3 : cache.size, 3].tolist() == [9, 0, 9, 0, 0, 9, 0, 0]
    assert cache.used().position[0].diff().tolist() == [1] * 10


def test_a_frame_sees_the_carriers_of_those_before_it():
    sizes = []

    class Counting(MadeUpModel):
        def queries_of(self, chunk, cache):
            sizes.append(len(cache))
            return super().queries_of(chunk, cache)

    policy, cache = make("video_scan", Counting(), top=0), pinned_cache()
    for frame in range(4):
        watch(policy, cache, frame)
    assert sizes == [0, 1, 2, 3]


# ---------------------------------------------------------------- LiveStar

def test_live_star_by_hand():
    """A closed event of four keeps the two nearest its mean; the running one stays whole."""
    policy, cache = make("live_star", budget=28), pinned_cache()
    for frame, degrees in enumerate((0, 20, 40, 70, 180, 180, 180, 180)):
        show(policy, cache, frame, turned(degrees))
    assert cache.frames() == [1, 2, 4, 5, 6, 7]


def test_without_a_closed_event_the_oldest_frame_leaves():
    policy, cache = make("live_star", budget=12, longest=100), pinned_cache()
    for frame in range(5):
        show(policy, cache, frame, turned(0))
    assert cache.frames() == [2, 3, 4]


def test_a_long_event_closes_by_itself():
    policy, cache = make("live_star", budget=16, longest=3), pinned_cache()
    for frame, degrees in enumerate((0, 5, 20, 20, 20)):   # the third frame closes the first event
        show(policy, cache, frame, turned(degrees))
    assert cache.frames() == [0, 1, 3, 4]


def test_half_of_three_is_two():
    looks = {5: torch.tensor([1.0, 0]), 6: torch.tensor([0.0, 1]), 7: torch.tensor([1.0, 0.1])}
    assert worse_half(looks) == [6]
    assert worse_half({5: torch.ones(2)}) == []


# ---------------------------------------------------------------- DuoAttention

def test_duo_attention_by_hand():
    """Layer 0 looks everywhere and keeps the past evenly; layer 1 looks at what is new."""
    policy = make("duo_attention", budget=24, sink=4, recent=8, chunk=1)
    cache = pinned_cache()
    for frame in range(8):
        add_frame(cache, frame)
        policy.queries = torch.zeros(LAYERS, 2 * HEADS, 4, DIM)
        policy.queries[1] = 9 * cache.raw[1, :, cache.size - 4 : cache.size].repeat(2, 1, 1)
        policy.after_prefill(cache)
    assert frames_in(cache, 0) == [0, 2, 4, 5, 6, 7]
    assert frames_in(cache, 1) == [0, 3, 4, 5, 6, 7]


def test_what_goes_leaves_the_rest_evenly_spread():
    assert evenly(list(range(8)), free=3, sink=1, recent=2) == [0, 2, 4, 6, 7]
    assert evenly([0, 1, 2, 9, 10, 20], free=1, sink=1, recent=1) == [0, 2, 3, 4, 5]


# ---------------------------------------------------------------- all of them

def kept(name: str) -> list[list[float]]:
    """One number of every key that is left of 60 frames, by layer."""
    policy, cache = TINY[name].make(name), pinned_cache()
    if name == "last_n":
        policy = make("last_n", frames=10)
    for frame in range(60):
        watch(policy, cache, frame)
    return cache.raw[:, 0, cache.num_pinned : cache.size, 0].tolist()


def test_all_keep_something_of_their_own():
    names = (*LADDERS, "last_n", "uniform", "attention_sinks", "random")
    held = {name: kept(name) for name in names}
    for name in LADDERS:
        assert not [other for other in names if other != name and held[other] == held[name]]


@pytest.mark.parametrize(
    "name, settings",
    [("lacache", {"overlap": 16}), ("sirllm", {"sink": 512}), ("video_scan", {"frames": 0}),
     ("live_star", {"change": 3}), ("duo_attention", {"recent": 500})],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(StreamAssistError, match=f"memory setting {next(iter(settings))}"):
        METHODS[name](**settings)


def test_the_newest_frame_is_never_cut():
    """Also where the budget is smaller than a frame."""
    for name in LADDERS:
        settings = {"duo_attention": {"sink": 1, "recent": 1}, "sirllm": {"sink": 0}}.get(name, {})
        policy, cache = make(name, budget=3, **settings), pinned_cache()
        for frame in range(6):
            watch(policy, cache, frame)
        assert torch.equal(cache.raw[:, :, cache.size - 4 : cache.size], keys_of(5, 4))
        assert len(cache) <= 8
