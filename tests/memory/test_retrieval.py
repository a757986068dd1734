"""Memories that look things up: what they store, how they rank it, what an answer is given on."""
import math

import pytest
import torch

from made_up import HEADS, LAYERS, MadeUpModel, new_cache, pinned_cache, watch
from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.memory.store import Store
from streamassist.scoring import attention_mass
from streamassist.slots import Block, Slots
from streamassist.types import Role, VisualTokens

QUESTION = "What did you see?"
LOOK_UP = {   # settings under which one frame is what is found
    "rekv": {}, "inf_llm": {"page": 4}, "lserve": {"page": 8, "logical": 4}, "resv": {},
    "stream_kv": {"dropped": 0.0},
}
look_up = pytest.mark.parametrize("name", LOOK_UP)


def block(frame: int, *keys: tuple[float, float]) -> Block:
    """A frame of one layer and one head, its raw keys given."""
    raw, slots = torch.tensor(keys)[None, None], Slots.empty(1, len(keys))
    slots.frame[:], slots.group[:], slots.role[:] = frame, frame, int(Role.VISUAL)
    return Block(raw, raw + 1, slots)


def holding(name: str, *blocks: Block, **settings):
    """A policy with these pages in its store."""
    policy = METHODS[name](**settings)
    for page in blocks:
        policy._store.add(page, policy.describe(page))
    return policy


def heads(*queries: tuple[float, float]) -> torch.Tensor:
    """Query heads of one layer and one token: (1, Hq, 1, 2)."""
    return torch.tensor(queries)[None, :, None]


class Keyed(MadeUpModel):
    """Some frames have given keys (LAYERS, HEADS, 1, DIM), the same for all tokens."""

    def __init__(self, keys: dict[int, torch.Tensor]):
        super().__init__()
        self.keys = keys

    def forward(self, chunk, cache: KVCache) -> torch.Tensor:
        if chunk.frame not in self.keys:
            return super().forward(chunk, cache)
        raw = self.keys[chunk.frame].expand(-1, -1, chunk.positions.shape[1], -1)
        with cache.appending(chunk):
            for layer in range(LAYERS):
                cache.update(layer, raw[layer], raw[layer] + 1)
        return torch.zeros(16)


def along(direction: int, length: float = 1.0) -> torch.Tensor:
    return length * torch.eye(8)[direction].expand(LAYERS, HEADS, 1, 8)


def aimed_at(question: str) -> torch.Tensor:
    """Keys that point where the queries of a question do."""
    model = MadeUpModel()
    chunk = model.text_chunk(model.question_ids(question), 0, Role.BRANCH, 0.0)
    mean = model.queries_of(chunk, new_cache()).mean(2).unflatten(1, (HEADS, -1)).mean(2)
    return 20 * mean[:, :, None]


def run(name: str, model: MadeUpModel, count: int, **settings):
    policy, cache = METHODS[name](**settings), pinned_cache()
    policy.attach(model)
    for frame in range(count):
        watch(policy, cache, frame)
    return policy, cache


# ---------------------------------------------------------------- what all of them do

@look_up
def test_a_frame_the_question_is_about_is_recalled(name):
    settings = {"budget": 24, "stored": 400, **LOOK_UP[name]}
    policy, cache = run(name, Keyed({10: aimed_at(QUESTION)}), 60, **settings)
    newest = cache.frames()
    assert newest[-1] == 59 and 2 <= len(newest) <= 3
    answer = policy.before_answer(cache, QUESTION)
    assert all(10 in answer.used(layer).frame for layer in range(LAYERS))
    best = [frame for frame, score in policy.evidence() if score == policy.evidence()[0][1]]
    assert 10 in best and len(best) <= 2      # 2: a page of two frames
    assert answer.frames()[-len(newest) :] == newest and len(answer) <= 24


@look_up
def test_without_that_frame_something_else_comes_first(name):
    settings = {"budget": 24, "stored": 400, **LOOK_UP[name]}
    policy, cache = run(name, MadeUpModel(), 60, **settings)
    policy.before_answer(cache, QUESTION)
    assert policy.evidence()[0][0] != 10


def test_no_two_methods_keep_the_same():
    kept = []
    for name in [*LOOK_UP, "dscache", "last_n", "uniform", "random"]:
        settings = {"frames": 10} if name == "last_n" else {"budget": 40}
        if name in LOOK_UP:
            page = 8 if name in ("inf_llm", "lserve") else 4   # else InfLLM's key is ReKV's
            settings = {**settings, "stored": 400, "page": page}
        policy, cache = run(name, MadeUpModel(), 60, **settings)
        answer = policy.before_answer(cache, QUESTION)
        kept.append([answer.used(layer).frame.tolist() for layer in range(LAYERS)])
    assert all(a != b for i, a in enumerate(kept) for b in kept[:i])


@look_up
def test_the_store_keeps_its_limit(name):
    settings = {"budget": 24, "stored": 30, **LOOK_UP[name]}
    policy, cache = run(name, MadeUpModel(), 120, **settings)
    assert 20 < len(policy._store) <= 30
    size = policy._store.bytes
    for frame in range(120, 150):
        watch(policy, cache, frame)
    assert policy._store.bytes == size
    if name == "resv":
        assert policy._codes.shape[1] <= 2 * (30 + 4)


def test_a_wrong_setting_is_named():
    with pytest.raises(StreamAssistError, match="window"):
        METHODS["rekv"](window=1.5)


# ---------------------------------------------------------------- the store, by hand

def test_a_full_store_forgets_what_the_next_page_repeats():
    store = Store(limit=6)
    ways = [(1.0, 0.0), (0.6, 0.8), (0.5, 0.85), (-1.0, 0.0), (-1.0, 0.1)]
    left = []
    for frame, way in enumerate(ways):
        store.add(block(frame, way, way), torch.zeros(1))
        store.shrink()
        left.append([page.frames[0] for page in store.pages])
    assert left == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 2, 4]]
    taken = store.take(torch.tensor([[1, 2, 5]]))
    torch.testing.assert_close(taken.raw[0, 0], torch.tensor([ways[0], ways[2], ways[4]]))
    torch.testing.assert_close(taken.value, taken.raw + 1)
    assert taken.slots.frame.tolist() == [[0, 2, 4]]


def test_spared_pages_are_forgotten_last():
    store = Store(limit=2)
    for frame, way in enumerate([(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]):
        store.add(block(frame, way), torch.zeros(1)).spared = frame < 2
    assert [page.frames for page in store.shrink()] == [[2]]
    store.limit = 1
    assert [page.frames for page in store.shrink()] == [[0]]


# ---------------------------------------------------------------- each method, by hand

def test_rekv_by_hand():
    policy = holding("rekv", block(0, (1.0, 0.0), (1.0, 0.0)), block(1, (3.0, 0.0), (1.0, 2.0)),
                     block(2, (0.0, -2.0), (0.0, 0.0)))
    queries = heads((1.0, 0.0), (0.0, 1.0))
    # means (1, 0), (2, 1), (0, -1); the two heads share the key head: (1, 1) in all
    assert policy.rank(queries).tolist() == [[1.0, 3.0, -1.0]]
    assert policy.choose(queries, room=2)[1].tolist() == [[2, 3]]
    assert policy.choose(queries, room=5)[1].tolist() == [[0, 1, 2, 3]]   # whole frames
    assert policy.choose(queries, room=1)[1].tolist() == [[3]]            # but something


def test_inf_llm_by_hand():
    policy = METHODS["inf_llm"](representatives=2)
    policy._mass = {7: torch.tensor([[0.5, 0.1, 0.4]])}
    key = policy.describe(block(7, (1.0, 0.0), (0.0, 1.0), (5.0, 5.0)))
    assert key[0, 0].tolist() == [3.0, 2.5]   # the mean of the first and the last


def test_inf_llm_adds_up_the_attention_in_the_window():
    policy, cache = METHODS["inf_llm"](budget=400), pinned_cache()
    policy.attach(MadeUpModel())
    total = torch.zeros(LAYERS, 12)
    for frame in range(3):
        watch(policy, cache, frame)
        mass = attention_mass(cache, policy.queries, cache.next_position - 4).mean(1)
        total[:, : mass.shape[1]] += mass
    torch.testing.assert_close(torch.cat([policy._mass[f] for f in range(3)], 1), total)


@pytest.mark.parametrize("num_axes", [1, 3])
def test_inf_llm_reads_prompt_and_recalled_at_one_distance(num_axes):
    policy, cache = METHODS["inf_llm"](budget=24), pinned_cache(num_axes)
    policy.attach(MadeUpModel(num_axes))
    for frame in range(30):
        watch(policy, cache, frame)
    answer = policy.before_answer(cache, QUESTION)
    newest = len(cache)
    position = answer.in_use().position
    far, near = position[..., : answer.size - newest], position[..., answer.size - newest :]
    assert far.shape[-1] > 3 and (far == near.amin() - 1).all()
    own = cache.in_use().position[..., cache.num_pinned :]
    assert torch.equal((near - near.amin())[:, :1], own - own.amin())


def test_lserve_by_hand():
    pages = (block(0, (3.0, 0.0), (-3.0, 0.0)), block(1, (1.0, 0.0), (1.0, 0.0)),
             block(2, (2.0, 2.0), (0.0, -2.0)))
    query = heads((1.0, -1.0))
    # page 2: at most 2 * 1 and -2 * -1, though no key has both; key by key its best is 2
    assert holding("lserve", *pages, logical=2).rank(query).tolist() == [[3.0, 1.0, 4.0]]
    assert holding("lserve", *pages, logical=1).rank(query).tolist() == [[3.0, 1.0, 2.0]]
    assert holding("rekv", *pages).rank(query).tolist() == [[0.0, 1.0, 1.0]]   # its relative


def test_lserve_bounds_each_query_head_by_itself():
    policy = holding("lserve", block(0, (1.0, 0.0), (-1.0, 0.0)), logical=2)
    assert policy.rank(heads((2.0, 0.0), (-2.0, 0.0))).tolist() == [[4.0]]   # mean query: 0


def test_resv_by_hand():
    policy = holding("resv", block(0, (1.0, 0.0), (2.0, 0.0), (-1.0, 0.0), (3.0, 0.0)),
                     block(1, (0.0, 1.0), (4.0, 0.0), (-2.0, 0.0)))
    first, second = (page.key[0].tolist() for page in policy._store.pages)
    a, b, c = first[0], first[2], second[0]
    assert first == [a, a, b, a] and second == [c, a, b] and len({a, b, c}) == 3
    # mean keys a 2.5, b -1.5, c 0 along the query; four, two and one member
    ahead = heads((0.1 * math.sqrt(2), 0.0))
    # weights: a 4, b 2 exp(-0.4) = 1.34, c exp(-0.25) = 0.78, of 6.12 in all
    assert policy.choose(ahead, room=7)[1].tolist() == [[0, 1, 3, 5]]
    policy.threshold = 0.7      # 4 are not yet 4.28, so b comes too
    assert policy.choose(ahead, room=7)[1].tolist() == [[0, 1, 2, 3, 5, 6]]
    assert policy.choose(ahead, room=3)[1].tolist() == [[1, 3, 5]]
    assert policy.choose(-10 * ahead, room=7)[1].tolist() == [[2, 6]]   # sure: two tokens


def test_resv_clusters_lose_the_members_that_are_forgotten():
    policy = holding("resv", block(0, (1.0, 0.0), (-1.0, 0.0)), block(1, (0.9, 0.0)), stored=1)
    assert sorted(policy._sizes[0].tolist())[-2:] == [1, 2]
    policy.forgotten(policy._store.shrink())
    assert [page.frames for page in policy._store.pages] == [[1]]
    assert int(policy._sizes.sum()) == 1


class Guided(Keyed):
    """All queries point along direction 0."""

    def queries_of(self, chunk, cache: KVCache) -> torch.Tensor:
        self.forward(chunk, cache)
        return along(0).repeat(1, 2, chunk.positions.shape[1], 1)


def scenes(policy, cache: KVCache, looks: list[int]) -> None:
    """Frames whose features point in the directions given."""
    for frame, way in enumerate(looks):
        tokens = VisualTokens(torch.eye(8)[way].repeat(4, 1), (1, 2, 2), frame * 0.5, frame)
        policy.observe(tokens, cache)
        policy.model.forward(policy.model.frame_chunk(tokens, cache.next_position), cache)
        policy.after_prefill(cache)


def test_stream_kv_compresses_a_finished_segment():
    lengths = (3.0, 1.0, 2.0, 0.0)   # frame 0 and frame 2 are what the guidance asks for
    policy, cache = METHODS["stream_kv"](budget=8), pinned_cache()
    policy.attach(Guided({frame: along(0, length) for frame, length in enumerate(lengths)}))
    scenes(policy, cache, [0, 0, 0, 0, 1, 1])
    pages = policy._store.pages
    assert [(page.frames, page.spared) for page in pages] == [
        ([0], False), ([2], False), ([3], True), ([4], False)
    ]
    torch.testing.assert_close(pages[2].key, along(0, 1.5)[:, :, 0])   # the mean of all four
    torch.testing.assert_close(
        policy._store.value[:, :, pages[2].where], (along(0, 1.5) + 1).expand(-1, -1, 4, -1)
    )


def test_stream_kv_segments_have_four_frames_at_least():
    policy, cache = METHODS["stream_kv"](budget=8), pinned_cache()
    policy.attach(Guided({}))
    scenes(policy, cache, [0, 1, 2, 3, 3])
    assert [page.frames[0] for page in policy._store.pages] == [0, 1, 2, 3]
    scenes(policy, cache, [3])   # a cut behind four frames would have ended the segment
    assert len(policy._open) == 5


def test_stream_kv_averages_neighbours_in_a_long_segment():
    keys = {0: along(0), 1: along(1), 2: along(1, 2.0), 3: along(2), 4: along(3)}
    policy, cache = METHODS["stream_kv"](budget=8, longest=4), pinned_cache()
    policy.attach(Guided(keys))
    scenes(policy, cache, [0] * 6)
    assert [page.frames[0] for page in policy._store.pages] == [0, 2, 3, 4]
    torch.testing.assert_close(policy._store.pages[1].key, along(1, 1.5)[:, :, 0])
