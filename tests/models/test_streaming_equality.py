"""A stream through our KVCache equals one pass of the stock transformers model over the whole.

The stock copy uses its own rotary embedding, cache, mask and (where no branch is involved) its own
positions; it shares only weights and pixels with the adapter.
"""
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from streamassist.cache import KVCache
from streamassist.types import Chunk, Frame, Role, VisualTokens
from tests.streaming import (
    Reference,
    Stream,
    apart,
    assert_same_cache,
    causal,
    ends,
    placed,
    rows_of,
)
from tests.tiny_models import KINDS, adapter, build, frames

TOLERANCE = 1e-4
QUESTION = "what do you see?"


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def llm(kind: str) -> Any:
    return adapter(kind)


@pytest.fixture
def reference(kind: str, llm: Any) -> Reference:
    return Reference(build(kind)[0], llm)


# ---------------------------------------------------------------- frame by frame = all at once

@pytest.mark.parametrize("size", [(56, 84), (112, 56)], ids=["wide", "tall"])
def test_frames_one_by_one_equal_one_pass(llm, reference, size):
    stream, shown = Stream.open(llm), frames(3, size)
    stream.show(shown)
    stream.greedy(stream.text(llm.question_ids(QUESTION)), 3)
    whole = reference.logits(stream.fed, shown)
    assert whole.std() > 0.3
    assert apart(torch.stack(stream.logits), whole[ends(stream.fed)]) < TOLERANCE


def test_frames_encoded_together_are_the_frames_encoded_alone(llm):
    shown = [*frames(2, (56, 84)), *frames(2, (84, 56))]
    together = llm.encode(shown)
    assert [t.frame for t in together] == [f.index for f in shown]
    for tokens, frame in zip(together, shown, strict=True):
        (alone,) = llm.encode([frame])
        assert tokens.grid == alone.grid and tokens.before == alone.before
        assert apart(tokens.embeds, alone.embeds) < 1e-5
        assert len(tokens.deepstack) == len(alone.deepstack)
        for ours, theirs in zip(tokens.deepstack, alone.deepstack, strict=True):
            assert apart(ours, theirs) < 1e-5


# ---------------------------------------------------------------- a question in mid-stream

@dataclass
class Interrupted:
    """Frames, a question and three words of its answer, lifted; two more frames; put back."""

    stream: Stream
    shown: list[Frame]
    before: int        # chunks fed before the branch
    branch: range      # chunks of the branch
    after: range       # chunks of the frames shown meanwhile


def interrupted(llm: Any) -> Interrupted:
    stream, shown = Stream.open(llm), frames(5)
    stream.show(shown[:3])
    first, slot = len(stream.fed), stream.cache.size
    stream.greedy(stream.text(llm.question_ids(QUESTION)), 3)
    branch = range(first, len(stream.fed))
    lifted = stream.cache.lift(slot)
    stream.show(shown[3:])
    after = range(branch.stop, len(stream.fed))
    stream.cache.put_back(lifted)
    return Interrupted(stream, shown, first, branch, after)


def test_an_answer_goes_on_behind_frames_shown_meanwhile(llm, reference):
    case = interrupted(llm)
    stream = case.stream
    last = stream.text([int(stream.logits[case.branch[-1]].argmax())])
    fed = stream.fed
    mask = causal(sum(len(c.ids) for c in fed))
    mask[rows_of(fed, case.after)[:, None], rows_of(fed, case.branch)] = False
    whole = reference.logits(fed, case.shown, placed(fed), mask)
    assert apart(last, whole[-1]) < TOLERANCE
    assert apart(torch.stack(stream.logits), whole[ends(fed)]) < TOLERANCE


def test_the_next_word_stands_behind_the_branch(llm):
    case = interrupted(llm)
    behind = case.stream.fed[case.branch[-1]]
    assert case.stream.cache.next_position == behind.start + behind.span


@pytest.mark.parametrize("cut", [1, 3], ids=["after one word", "at the end"])
def test_a_dropped_branch_leaves_no_trace(llm, cut):
    asked, quiet, shown = Stream.open(llm), Stream.open(llm), frames(4)
    for stream in (asked, quiet):
        stream.show(shown[:2])
    slot = asked.cache.size
    asked.greedy(asked.text(llm.question_ids(QUESTION)), cut)
    asked.cache.lift(slot)
    for stream in (asked, quiet):
        stream.show(shown[2:])
    assert_same_cache(asked.cache, quiet.cache)
    assert apart(asked.logits[-1], quiet.logits[-1]) == 0


# ---------------------------------------------------------------- moved and evicted slots

def filled(llm: Any) -> Stream:
    stream = Stream.open(llm)
    stream.show(frames(4))
    return stream


def stock_rotation(reference: Reference, cache: KVCache) -> Tensor:
    """The cache's raw keys, rotated to its positions by the stock model's rotary embedding."""
    at = cache.used().position[:, None] if cache.num_axes == 3 else cache.used().position
    cos, sin = reference.model.get_decoder().rotary_emb(torch.zeros(1), at)
    raw = cache.raw[:, :, : cache.size].float()
    left, right = raw.chunk(2, -1)
    return raw * cos + torch.cat((-right, left), -1) * sin


def there_and_back(cache: KVCache, times: int) -> Iterator[Tensor]:
    """Moves of single steps that end 7 positions further on."""
    steps = torch.randint(-3, 4, (times,), generator=torch.Generator().manual_seed(0))
    steps[-1] += 7 - int(steps.sum())
    for step in steps.tolist():
        yield torch.full((cache.size,), step)


def test_moved_keys_equal_fresh_ones(llm, reference):
    stream = filled(llm)
    cache = stream.cache
    cache.move(torch.full((cache.size,), 13))
    assert apart(cache.rotated[:, :, : cache.size], stock_rotation(reference, cache)) < 1e-5
    keys = reference.run(
        stream.fed, frames(4), placed(stream.fed) + 13,
        past_key_values=DynamicCache(config=reference.model.config),
    ).past_key_values
    for layer in range(cache.num_layers):
        assert apart(cache.rotated[layer, :, : cache.size], keys.layers[layer].keys[0]) < TOLERANCE


def test_a_thousand_moves_cost_nothing(llm, reference):
    cache = filled(llm).cache
    for delta in there_and_back(cache, 1000):
        cache.move(delta)
    assert apart(cache.rotated[:, :, : cache.size], stock_rotation(reference, cache)) < 1e-5


def test_renumbering_closes_the_gap_and_keys_follow(llm, reference):
    stream = filled(llm)
    cache = stream.cache
    cache.keep(~torch.isin(cache.used().frame[cache.num_pinned :], torch.tensor([1, 2])))
    gone = sum(c.span for c in stream.fed[2:4])
    start = cache.used().position[0, 0].item()
    cache.renumber()
    assert cache.used().position[0, 0].item() == start + gone
    assert apart(cache.rotated[:, :, : cache.size], stock_rotation(reference, cache)) < 1e-5


def test_bfloat16_keys_survive_a_thousand_moves(llm):
    exact = filled(llm).cache
    heads, dim = exact.raw.shape[1], exact.raw.shape[3]
    rounded = KVCache(
        exact.num_layers, heads, dim, llm.rope, llm.num_axes, dtype=torch.bfloat16
    )
    with rounded.appending(whole_as_chunk(exact)):
        for layer in range(exact.num_layers):
            part = exact.raw[layer, :, : exact.size], exact.value[layer, :, : exact.size]
            rounded.update(layer, *part)
    for delta in there_and_back(exact, 1000):
        rounded.move(delta)
    exact.move(torch.full((exact.size,), 7))
    error = (rounded.rotated.float() - exact.rotated)[:, :, : exact.size].norm()
    assert error / exact.rotated[:, :, : exact.size].norm() < 0.01


def whole_as_chunk(cache: KVCache) -> Chunk:
    used, count = cache.used(), cache.size
    ids = torch.zeros(count, dtype=torch.int64)
    return Chunk(ids, used.position.clone(), 0, count, Role.TEXT, 0.0)


def test_evicted_slots_are_as_if_masked(llm, reference):
    stream, shown = Stream.open(llm), frames(4)
    stream.show(shown)
    size, pinned = stream.cache.size, stream.cache.num_pinned
    keep = torch.ones(size - pinned, dtype=torch.bool)
    keep[3::4] = False      # scattered rows of every frame
    keep[: len(keep) // 4] = False
    stream.cache.keep(keep)
    asked = len(stream.fed)
    stream.greedy(stream.text(llm.question_ids(QUESTION)), 2)
    fed = stream.fed
    mask = causal(sum(len(c.ids) for c in fed))
    gone = (~keep).nonzero()[:, 0] + pinned
    mask[size:, gone] = False
    whole = reference.logits(fed, shown, placed(fed), mask)
    rows = ends(fed)[asked:]
    assert apart(torch.stack(stream.logits[asked:]), whole[rows]) < TOLERANCE
    unmasked = reference.logits(fed, shown, placed(fed))
    assert apart(unmasked[rows], whole[rows]) > 100 * TOLERANCE


def reduced(tokens: VisualTokens, places: Tensor) -> VisualTokens:
    return replace(
        tokens,
        embeds=tokens.embeds[places],
        deepstack=tuple(level[places] for level in tokens.deepstack),
        places=places,
    )


def test_dropped_tokens_are_as_if_masked(llm, reference):
    """Survivors keep their positions (and DeepStack rows), the next frame starts where it would."""
    whole, thin, shown = Stream.open(llm), Stream.open(llm), frames(3)
    places = torch.tensor([0, 2, 5])
    for tokens in llm.encode(shown):
        whole.show_tokens(tokens)
        thin.show_tokens(reduced(tokens, places))
    for stream in (whole, thin):
        stream.text(llm.question_ids(QUESTION))
    assert thin.cache.next_position == whole.cache.next_position
    kept = [torch.ones(len(c.ids), dtype=torch.bool) for c in whole.fed]
    for chunk, rows in zip(whole.fed, kept, strict=True):
        if chunk.visual_at is not None:
            rows[chunk.visual_at] = False
            rows[chunk.visual_at[places]] = True
    seen = torch.cat(kept)
    mask = causal(len(seen)) & (seen | torch.eye(len(seen), dtype=torch.bool))
    expected = reference.logits(whole.fed, shown, placed(whole.fed), mask)
    assert torch.equal(placed(thin.fed), placed(whole.fed)[:, seen])
    assert apart(torch.stack(thin.logits), expected[ends(whole.fed)]) < TOLERANCE


# ---------------------------------------------------------------- several streams, one model

def test_two_streams_on_one_model_do_not_disturb_each_other(llm):
    wide, tall = frames(3, (56, 84)), frames(3, (140, 56))
    alone = []
    for shown in (wide, tall):
        stream = Stream.open(llm)
        stream.show(shown)
        stream.greedy(stream.text(llm.question_ids(QUESTION)), 3)
        alone.append(stream)
    mixed = [Stream.open(llm), Stream.open(llm)]
    for pair in zip(wide, tall, strict=True):
        for stream, frame in zip(mixed, pair, strict=True):
            stream.show([frame])
    words = [stream.text(llm.question_ids(QUESTION)) for stream in mixed]
    for _ in range(3):
        words = [s.greedy(w, 1) for s, w in zip(mixed, words, strict=True)]
    for one, other in zip(mixed, alone, strict=True):
        assert apart(torch.stack(one.logits), torch.stack(other.logits)) == 0
        assert_same_cache(one.cache, other.cache)


def test_no_stream_state_is_left_on_the_model(llm):
    Stream.open(llm).show(frames(2))
    assert getattr(llm.model.model, "rope_deltas", None) is None
