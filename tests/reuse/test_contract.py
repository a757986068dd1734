"""What every way of reusing the encoder owes, on the real adapters with tiny weights."""
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from models.reuse import METHODS
from streamassist.config import make_method
from streamassist.errors import StreamAssistError
from streamassist.reuse import EncoderReuse
from streamassist.types import Frame, VisualTokens
from tests import tiny_nano
from tests.tiny_models import KINDS, adapter

INSIDE = ("cacher", "gated", "interleave")   # a vision transformer
SIZE = {"smolvlm": (64, 64), "qwen2_5_vl": (112, 140), "qwen3_vl": (128, 160), "nano": (288, 288)}
EVERYTHING = {   # settings with which all is recomputed, the short way round
    "cacher": "cacher:share=1", "gated": "gated:threshold=1,most=1",
    "interleave": "interleave:drop=0", "tiles": "tiles:threshold=-1,most=1,halo=1000",
}
NEVER = {        # and with which no frame ever goes the short way
    "cacher": "cacher:interval=1", "gated": "gated:most_s=0", "interleave": "interleave:between=0",
    "tiles": "tiles:most=0",
}
PAIRS = [*((name, kind) for name in INSIDE for kind in KINDS), ("tiles", "nano")]
each = pytest.mark.parametrize(("name", "kind"), PAIRS)


@lru_cache(maxsize=len(SIZE))
def loaded(kind: str) -> Any:
    return tiny_nano.build()[0] if kind == "nano" else adapter(kind)


def reuse(spec: str, kind: str) -> EncoderReuse:
    method = make_method("reuse", spec, METHODS)
    method.attach(loaded(kind))
    return method


def noise(kind: str, count: int, seed: int = 0) -> list[Frame]:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (count, *SIZE[kind], 3), np.uint8)
    return [Frame(image, i / 2, i) for i, image in enumerate(images)]


def walking(kind: str, count: int) -> list[Frame]:
    """A still picture of noise, with a bright square that goes round in a corner of it."""
    (still,), side = noise(kind, 1), SIZE[kind][0] // 4
    frames = []
    for i in range(count):
        image, at = still.image.copy(), 5 * (i % 4)
        image[at : at + side, :side] = 250
        frames.append(Frame(image, i / 2, i))
    return frames


def assert_same(got: list[VisualTokens], wanted: list[VisualTokens], apart: float = 1e-4) -> None:
    for a, b in zip(got, wanted, strict=True):
        assert a.grid == b.grid and a.pts == b.pts and a.before == b.before
        pairs = zip((a.look, a.embeds, *a.deepstack), (b.look, b.embeds, *b.deepstack), strict=True)
        for one, two in pairs:
            torch.testing.assert_close(one, two, atol=apart, rtol=0)


def plain(kind: str, frames: list[Frame]) -> list[VisualTokens]:
    return [loaded(kind).encode([frame])[0] for frame in frames]


def test_every_method_is_tested():
    assert set(METHODS) == {name for name, _ in PAIRS} | {"none"}


@each
@pytest.mark.parametrize("settings", [EVERYTHING, NEVER])
def test_with_everything_recomputed_the_result_is_the_plain_one(settings, name, kind):
    frames, method = noise(kind, 4), reuse(settings[name], kind)
    got = []
    for frame in frames:
        got.append(method.encode(frame))
        assert method.work == 1
    assert_same(got, plain(kind, frames))


@each
def test_a_still_stream_gives_the_first_frame_again_for_less_work(name, kind):
    method = reuse("cacher:interval=3" if name == "cacher" else name, kind)
    image = noise(kind, 1)[0].image
    first, *others = [method.encode(Frame(image, i / 2, i)) for i in range(3)]
    assert method.work == pytest.approx(0.25 if name == "cacher" else 0)
    for other in others:
        torch.testing.assert_close(other.embeds, first.embeds, atol=1e-4, rtol=0)
        for one, two in zip(other.deepstack, first.deepstack, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


@each
def test_little_movement_takes_less_work_and_is_seen(name, kind):
    frames, method = walking(kind, 2), reuse(name, kind)
    first, second = (method.encode(frame).embeds for frame in frames)
    assert 0 < method.work < 1 and not torch.equal(first, second)
    wanted = plain(kind, frames[1:])[0].embeds
    if name != "interleave":   # random weights make little of tokens on their own
        assert (second - wanted).norm() < (first - wanted).norm()


@each
def test_what_comes_later_changes_nothing(name, kind):
    frames = [*walking(kind, 5), *noise(kind, 2)]
    few, more = (reuse(name, kind) for _ in range(2))
    short = [few.encode(frame) for frame in frames[:3]]
    assert_same(short, [more.encode(frame) for frame in frames][:3], 0)


@each
def test_two_streams_of_one_model_know_nothing_of_each_other(name, kind):
    one, two = walking(kind, 4), noise(kind, 4, seed=5)
    alone = [reuse(name, kind), reuse(name, kind)]
    wanted = [[method.encode(f) for f in frames] for method, frames in zip(alone, (one, two),
                                                                          strict=True)]
    a, b = reuse(name, kind), reuse(name, kind)
    mixed = [(a.encode(x), b.encode(y)) for x, y in zip(one, two, strict=True)]
    assert_same([x for x, _ in mixed], wanted[0], 0)
    assert_same([y for _, y in mixed], wanted[1], 0)


@each
def test_what_is_kept_stays_small(name, kind):
    frames, method, sizes = walking(kind, 100), reuse(name, kind), []
    for frame in frames:
        method.encode(frame)
        sizes.append(method.bytes)
    assert 0 < max(sizes[50:]) <= max(sizes[:10])


@each
def test_a_reset_leaves_nothing_of_what_was_seen(name, kind):
    frames, method = walking(kind, 3), reuse(name, kind)
    fresh = [method.encode(frame) for frame in frames]
    method.reset()
    assert method.bytes == 0
    new = reuse(name, kind)
    assert all(vars(method)[key] == value for key, value in vars(new).items())
    assert_same([method.encode(frame) for frame in frames], fresh, 0)


@each
def test_a_picture_of_another_size_is_encoded_whole(name, kind):
    (before,), method = noise(kind, 1), reuse(name, kind)
    turned = Frame(before.image.transpose(1, 0, 2)[: SIZE[kind][1] - 28].copy(), 0.5, 1)
    method.encode(before)
    assert_same([method.encode(turned)], plain(kind, [turned]), 1e-4)
    assert method.work == 1


@each
def test_the_model_is_left_as_it_was_also_after_a_fault(name, kind, monkeypatch):
    llm, frames, method = loaded(kind), walking(kind, 3), reuse(name, kind)
    wanted = plain(kind, frames)
    method.encode(frames[0])

    def fails(*_: Any) -> None:
        raise RuntimeError("out of memory")

    owner, what = (method, "step") if kind != "nano" else (method, "_patch")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(owner, what, fails)
        method.encode(frames[1])
    root = llm.backbone if kind == "nano" else llm.tower.root
    for module in root.modules():
        assert "forward" not in vars(module) and not module._forward_pre_hooks
    assert_same(plain(kind, frames), wanted, 0)
    assert method.bytes == 0, "a half-made frame must not be reused"
    assert_same([method.encode(frames[2])], wanted[2:])


@pytest.mark.parametrize(("name", "kind", "mend"), [
    *((name, "nano", "use --reuse tiles or --reuse none") for name in INSIDE),
    ("tiles", "qwen3_vl", "use --reuse cacher, gated, interleave or --reuse none"),
])
def test_an_encoder_that_does_not_suit_is_refused(name, kind, mend):
    with pytest.raises(StreamAssistError, match=mend) as refused:
        reuse(name, kind)
    assert loaded(kind).name in str(refused.value)


@pytest.mark.parametrize(("spec", "word"), [
    ("cacher:interval=0", "interval"), ("cacher:share=1.1", "share"),
    ("gated:threshold=nan", "threshold"), ("gated:most=-1", "most"), ("gated:most_s=-1", "most_s"),
    ("interleave:between=-1", "between"), ("interleave:drop=2", "drop"),
    ("interleave:threshold=9", "threshold"), ("tiles:threshold=2", "threshold"),
    ("tiles:halo=-1", "halo"), ("tiles:most=2", "most"), ("tiles:most_s=-1", "most_s"),
    ("nothing", "cacher"), ("cacher:colour=1", "interval"),
])
def test_wrong_settings_are_told(spec, word):
    with pytest.raises(StreamAssistError, match=word):
        make_method("reuse", spec, METHODS)
