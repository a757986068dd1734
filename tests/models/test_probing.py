"""Many statements asked in one pass are answered as each alone would be."""
import pytest
import torch

from models.fake import FakeLLM
from models.nano.adapter import Nano
from streamassist.types import Role
from tests import tiny_models, tiny_nano
from tests.streaming import Stream, assert_same_cache

KINDS = (*tiny_models.KINDS, "nano", "fake")
STATEMENTS = ["A dog appears", "It rains on the red car", "There is a cup", "A man"]


def opened(kind: str) -> Stream:
    if kind == "nano":
        model, shown = tiny_nano.build()[0], tiny_nano.frames(3)
    else:
        model = FakeLLM() if kind == "fake" else tiny_models.adapter(kind)
        shown = tiny_models.frames(3)
    stream = Stream.open(model)
    stream.show(shown)
    return stream


@pytest.mark.parametrize("kind", KINDS)
def test_together_equals_alone_and_leaves_no_trace(kind):
    stream, untouched = opened(kind), opened(kind)
    model, cache = stream.llm, stream.cache
    alone = []
    for statement in STATEMENTS:
        size = cache.size
        alone.append(model.probe(statement, cache, 1.0))
        cache.truncate(size)
    together = model.probe_many(STATEMENTS, cache, 1.0)
    assert together == pytest.approx(alone, abs=1e-4)
    assert_same_cache(cache, untouched.cache)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_branch_does_not_see_its_neighbour(kind):
    stream = opened(kind)
    model, cache = stream.llm, stream.cache
    one, two = model.encode_text("a dog runs"), model.encode_text("two red cups stand there")
    size = cache.size
    rows = model.last_of_branches([one, two], cache, 1.0)
    assert cache.next_position == cache.used().position.max() + 1
    cache.truncate(size)
    for ids, row in zip((one, two), rows, strict=True):
        chunk = model.text_chunk(ids, cache.next_position, Role.BRANCH, 1.0)
        expected = model.forward(chunk, cache)
        cache.truncate(size)
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=1e-4)


def test_nano_is_what_is_tested():
    assert isinstance(opened("nano").llm, Nano)
