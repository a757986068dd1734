"""What every token reducer owes, on the real adapters with tiny weights."""
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from streamassist.config import EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS as MEMORY
from streamassist.memory.base import tensors_in
from streamassist.tokens import METHODS
from tests import tiny_nano
from tests.tiny_models import KINDS, adapter
from tests.tiny_models import frames as noise

IDLE = {   # settings with which nothing is left out
    "none": "none", "temporal_drop": "temporal_drop:threshold=0", "stc": "stc:share=1",
    "tom": "tom:share=1", "basis": "basis:share=1", "merging": "merging:share=1",
    "slow_fast": "slow_fast:sharp=1000", "key_norm": "key_norm:share=1",
    "motion": "motion:least=0", "curvature": "curvature:most_s=0", "scene": "scene:most_s=0",
}
BUSY = {   # settings with which noise that stands still for two frames loses something
    "temporal_drop": "temporal_drop:threshold=0.05", "scene": "scene:change=2,follow=1",
    "curvature": "curvature:above=0.5",
}
CHOOSE = ("motion", "curvature", "scene")   # these leave out whole frames
MODELS = [*KINDS, "nano"]
each = pytest.mark.parametrize("name", METHODS)
busy = pytest.mark.parametrize("name", [name for name in METHODS if name != "none"])
before = pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if not method.edits_cache]
)
model = pytest.mark.parametrize("kind", MODELS)


@lru_cache(maxsize=len(MODELS))
def loaded(kind: str) -> Any:
    return tiny_nano.build()[0] if kind == "nano" else adapter(kind)


@lru_cache(maxsize=len(MODELS))
def shown(kind: str) -> list:
    """Twelve frames: noise, of which each stands still for two."""
    made = tiny_nano.frames(6) if kind == "nano" else noise(6, (112, 112))
    images = [frame.image for frame in made for _ in range(2)]
    return [type(made[0])(image, i / 2, i) for i, image in enumerate(images)]


def reducer(spec: str):
    return make_method("tokens", spec, METHODS)


def watched(kind: str, spec: str, memory: str = "full", count: int = 12) -> Engine:
    e = Engine(loaded(kind), make_method("memory", memory, MEMORY), EngineConfig(), reducer(spec))
    for frame in shown(kind)[:count]:
        e.observe(frame)
    return e


def test_every_reducer_is_tested():
    assert set(IDLE) == set(METHODS)


@each
@model
def test_with_nothing_left_out_the_model_reads_as_without(name, kind):
    plain, reduced = watched(kind, "none"), watched(kind, IDLE[name])
    assert reduced.tokens_read == reduced.tokens_seen
    assert torch.equal(reduced.cache.used().position, plain.cache.used().position)
    got, wanted = (e.ask("What do you see?", 6.0).logits for e in (reduced, plain))
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@busy
@model
def test_fewer_slots_are_taken_and_answers_are_finite(name, kind):
    plain, reduced = watched(kind, "none"), watched(kind, BUSY.get(name, name))
    assert len(reduced.cache) < len(plain.cache)
    if name not in CHOOSE:
        assert reduced.cache.frames() == plain.cache.frames(), "no frame vanishes"
    assert torch.isfinite(reduced.ask("What do you see?", 6.0).logits).all()


@before
@model
def test_survivors_keep_their_places_and_their_deeper_rows(name, kind):
    method, llm = reducer(name), loaded(kind)
    for frame in shown(kind):
        whole = llm.encode([frame])[0]
        left = method.reduce(whole, frame.image)
        if left is None:
            assert name in CHOOSE
            continue
        rows, places = len(left.embeds), left.places
        assert rows >= 1 and 0 <= method.news <= 1
        if places is None:
            assert rows == len(whole.embeds)
            continue
        assert len(places) == rows and (places.diff() > 0).all() and places[-1] < len(whole.embeds)
        assert all(len(level) == rows for level in left.deepstack)
        full, few = llm.frame_chunk(whole, 40), llm.frame_chunk(left, 40)
        assert few.span == full.span
        at = full.visual_at[places]
        assert torch.equal(few.positions[:, few.visual_at], full.positions[:, at])


@before
def test_what_comes_later_changes_nothing_and_a_reset_forgets(name):
    llm, frames = loaded("nano"), shown("nano")
    tokens = [llm.encode([frame])[0] for frame in frames]

    def run(method, count: int) -> list[torch.Tensor]:
        pairs = zip(tokens[:count], frames, strict=False)
        left = [method.wants(f.image, f.pts) and method.reduce(t, f.image) for t, f in pairs]
        return [t.embeds if t else torch.zeros(1) for t in left]

    method = reducer(name)
    few, all_of_them = run(method, 5), run(reducer(name), 12)
    for a, b in zip(few, all_of_them, strict=False):
        assert torch.equal(a, b)
    method.reset()
    for a, b in zip(run(method, 12), all_of_them, strict=True):
        assert torch.equal(a, b)


@each
def test_state_stays_small(name):
    llm, method = loaded("nano"), reducer(name)
    frames = tiny_nano.frames(8)
    tokens = [llm.encode([frame])[0] for frame in frames]
    e = Engine(llm, make_method("memory", "last_n:frames=6", MEMORY), EngineConfig(), method)
    sizes = []
    for i in range(160):
        if method.edits_cache:
            e.observe(type(frames[0])(frames[i % 8].image, i / 2, i))
        else:
            method.reduce(tokens[i % 8], frames[i % 8].image)
        state = [getattr(method, f.name) for f in fields(method) if not f.init]
        sizes.append(sum(t.nbytes for t in tensors_in(state)))
    assert sizes[-1] <= max(sizes[:80])


@busy
@pytest.mark.parametrize("memory", ["recall:recent=3", "last_n", "uniform:budget=64",
                                    "attention_sinks:budget=64", "random:budget=64"])
def test_memory_goes_on_from_what_is_left(name, memory):
    e = watched("nano", name, memory)
    if name not in CHOOSE:
        assert e.cache.frames()[-1] == 11
    slots = e.cache.used()
    assert (slots.group[e.cache.num_pinned :].diff() >= 0).all()
    cos, sin = e.cache.rope.cos_sin(slots.position)
    assert torch.isfinite(e.ask("What was there before?", 6.0).logits).all()
    e.close()
    e.forget(3.0)
    assert all(frame < 6 for frame in e.cache.frames())


@pytest.mark.parametrize("memory", [n for n in MEMORY if n not in ("kivi", "vidkv", "spherical")])
def test_what_is_dropped_before_the_model_suits_every_memory(memory):
    e = watched("nano", "temporal_drop:threshold=0.05,refresh=5", memory)
    assert torch.isfinite(e.ask("What was there before?", 6.0).logits).all()


@pytest.mark.parametrize(("spec", "word"), [
    ("temporal_drop:by=colour", "feature"), ("stc:share=0", "share"), ("tom:static=9", "static"),
    ("nothing", "temporal_drop"), ("slow_fast:sharp=0", "sharp"), ("basis:rank=0", "rank"),
    ("motion:least=2", "least"), ("scene:follow=0", "follow"), ("curvature:most_s=-1", "most_s"),
])
def test_wrong_settings_are_told(spec, word):
    with pytest.raises(StreamAssistError, match=word):
        reducer(spec)


def test_pictures_of_another_size_are_read_whole():
    method = reducer("temporal_drop:by=pixel")
    llm = loaded("nano")
    for side in (40, 40, 60):
        frame = tiny_nano.frames(1)[0]
        image = np.full((side, side, 3), 90, np.uint8)
        left = method.reduce(llm.encode([frame])[0], image)
        last = len(left.embeds)
    assert last == len(llm.encode([frame])[0].embeds)
