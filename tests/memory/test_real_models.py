"""Every memory policy on the real adapters with tiny weights: 48 frames, questions on the way."""
from dataclasses import fields
from functools import lru_cache
from typing import Any

import pytest
import torch

from memory.methods import TINY
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS
from tests import tiny_nano
from tests.tiny_models import KINDS, adapter
from tests.tiny_models import frames as noise

MODELS = [*KINDS, "nano"]
FRAMES, ROOM, ASK_AT = 48, 10, (7, 30, 47)   # ROOM: frames that fit the budget
QUESTIONS = ("what do you see now?", "What did you see?", "Was there a red box earlier?")
each = pytest.mark.parametrize("name", TINY)
model = pytest.mark.parametrize("kind", MODELS)


@lru_cache(maxsize=len(MODELS))
def loaded(kind: str) -> Any:
    return tiny_nano.build()[0] if kind == "nano" else adapter(kind)


@lru_cache(maxsize=len(MODELS))
def shown(kind: str) -> list:
    return tiny_nano.frames(FRAMES) if kind == "nano" else noise(FRAMES, (56, 56))


@lru_cache(maxsize=len(MODELS))
def per_frame(kind: str) -> int:
    """Most slots that a frame takes, wrapper tokens (a time of varying length) included."""
    llm = loaded(kind)
    return max(llm.frame_chunk(t, 0).positions.shape[1] for t in llm.encode(shown(kind)))


def engine(name: str, kind: str, room: int = ROOM) -> Engine:
    """A policy with room for so many whole frames."""
    known, scale = {f.name for f in fields(METHODS[name])}, per_frame(kind) / 4
    settings = dict(TINY[name].settings)
    for field, value in settings.items():
        if field in ("budget", "max_tokens", "residual") and field in known:
            settings[field] = int(value * scale) if room == ROOM else room * per_frame(kind)
    return Engine(loaded(kind), METHODS[name](**settings), EngineConfig())


def answer(e: Engine, question: str, pts: float, words: int = 3) -> torch.Tensor:
    turn = e.ask(question, pts)
    first = turn.logits
    for _ in range(words):
        e.step()
    e.close()
    return first


@each
@model
def test_a_stream_within_the_budget_with_questions_on_the_way(name, kind):
    e, most = engine(name, kind), TINY[name].most * per_frame(kind) // 4
    for number, frame in enumerate(shown(kind)):
        e.observe(frame)
        assert len(e.cache) <= most
        if number in ASK_AT:
            size = e.cache.size
            for question in QUESTIONS:
                logits = answer(e, question, frame.pts)
                assert torch.isfinite(logits).all() and e.cache.size == size
    assert e.cache.frames()[-1] == FRAMES - 1
    assert e.cache.in_use().role[:, : e.cache.num_pinned].eq(0).all()


@each
@model
def test_the_same_answer_as_with_everything_while_the_budget_is_not_reached(name, kind):
    if TINY[name].early:
        pytest.skip("it reduces every frame, as its own tests show")
    few = 3
    e, plain = engine(name, kind), engine("full", kind)
    for frame in shown(kind)[:few]:
        e.observe(frame)
        plain.observe(frame)
    for question in QUESTIONS:
        torch.testing.assert_close(
            answer(e, question, 1.0), answer(plain, question, 1.0), atol=1e-4, rtol=0
        )
