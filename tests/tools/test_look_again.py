"""Look again: the part that is named, in full resolution, without a trace in the stream's cache."""
import numpy as np
import pytest
import torch

from desk import BLUE, GREEN, RED, WHITE, Desk
from helping import answers, helped, look, show
from models.fake import FakeLLM
from streamassist.config import Config, EngineConfig
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory.base import MemoryPolicy
from streamassist.tools.look_again import LookAgain, close_up, crop, quarters, region
from streamassist.types import Answer, Frame, Query
from tiny_models import KINDS, adapter, frames

TOOL = LookAgain()


def patches(side: int = 32) -> np.ndarray:
    """Red and green over blue and white."""
    rows = [[RED, GREEN], [BLUE, WHITE]]
    return np.array(rows, np.uint8).repeat(side, 0).repeat(side, 1)


@pytest.mark.parametrize(
    "question, wanted",
    [
        ("Zoom in on the left", True),
        ("Look closer, please", True),
        ("Take a closer look", True),
        ("Look again at the bottom", True),
        ("What do you see?", False),
        ("Does it look good?", False),
    ],
)
def test_words_that_want_it(question, wanted):
    assert TOOL.wants(question) is wanted


@pytest.mark.parametrize(
    "question, name, colour",
    [
        ("zoom into the top left corner", "top left", RED),
        ("look closer at the upper right", "top right", GREEN),
        ("what is at the bottom left? Zoom in", "bottom left", BLUE),
        ("look again: lower right", "bottom right", WHITE),
    ],
)
def test_corners(question, name, colour):
    named, across, down = region(question)
    part = crop(Frame(patches(), 0.0, 0), across, down).image
    assert named == name and (part == colour).all() and part.shape == (32, 32, 3)


@pytest.mark.parametrize(
    "question, name, size",
    [
        ("zoom into the left", "left", (64, 32)),
        ("look again at the top", "top", (32, 64)),
        ("a closer look at the centre", "centre", (32, 32)),
        ("zoom in", "whole", (64, 64)),
        ("zoom in right now", "whole", (64, 64)),
    ],
)
def test_halves_centre_and_whole(question, name, size):
    named, across, down = region(question)
    assert named == name and crop(Frame(patches(), 0.0, 0), across, down).image.shape[:2] == size


def test_a_part_of_nearly_nothing_is_refused():
    with pytest.raises(StreamAssistError, match="too small"):
        crop(Frame(patches(8), 0.0, 0), (0.0, 0.5), (0.0, 0.5))


def test_the_whole_comes_with_its_quarters_for_a_model_that_can_be_told_so():
    desk = Desk(FakeLLM(history_turns=2))
    show(desk, patches())
    found = TOOL.run("Zoom in", look(desk.session))
    whole, *parts = found.images
    assert whole.image.shape == (64, 64, 3) and "its quarters: top left" in found.text
    assert [tuple(p.image[0, 0]) for p in parts] == [RED, GREEN, BLUE, WHITE]
    assert [p.image.shape for p in quarters(whole)[1:]] == [(32, 32, 3)] * 4


def test_a_model_of_bare_questions_sees_the_centre():
    desk = Desk(FakeLLM(history_turns=0))
    show(desk, patches())
    found = TOOL.run("Zoom in", look(desk.session))
    assert found.did == "looked again at the centre of the picture (32 x 32 pixels)"
    assert len(found.images) == 1 and not found.text


# ---------------------------------------------------------------- asked about

@pytest.mark.parametrize(
    "question, answer",
    [
        ("Zoom into the top left: what is it?", "I see a dark red picture."),
        ("Zoom into the bottom left: what is it?", "I see a dark blue picture."),
        ("Zoom into the bottom right: what is it?", "I see a bright grey picture."),
    ],
)
def test_the_model_is_asked_about_that_part(question, answer):
    desk = helped(Desk(config=Config(response="on_query")), TOOL)
    desk.watch(GREEN, GREEN)
    show(desk, patches())
    desk.submit(Query(question))
    (said,) = answers(desk)
    assert said.text == answer and said.evidence == [{"t": 1.0, "frame": 2}]
    assert said.used[0].startswith("looked again at the ") and "32 x 32 pixels" in said.used[0]


def stream(question: str, memory: str) -> torch.Tensor:
    """All bytes of the stream's cache after a question, frames coming during the answer."""
    desk = helped(Desk(config=Config(memory=memory, response="on_query")), TOOL)
    desk.watch(RED, GREEN)
    show(desk, patches())
    if question:
        desk.submit(Query(question))
    desk.talk(2)
    desk.watch(BLUE, WHITE, talk=False)
    desk.talk()
    assert bool(desk.of(Answer)) == bool(question)
    cache = desk.session.engine.cache
    used = [b[:, :, : cache.size].flatten() for b in (cache.raw, cache.rotated, cache.value)]
    return torch.cat([*used, torch.tensor([cache.size, cache.next_position]).float()])


@pytest.mark.parametrize("memory", ["full", "last_n", "recall:budget=16,recent=2"])
def test_the_streams_cache_is_the_same_to_the_bit(memory):
    asked = stream("Zoom into the top left: what is it?", memory)
    assert torch.equal(asked, stream("", memory))


def test_the_close_up_is_an_engine_of_its_own():
    desk = Desk()
    desk.watch(RED, talk=False)
    aside = close_up(desk.session.engine, [Frame(patches(), 0.0, 0)])
    assert aside.model is desk.model and aside.cache is not desk.session.engine.cache
    assert aside.cache.frames() == [0] and len(aside.cache) == desk.model.tokens_per_frame


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_the_real_architectures_read_the_whole_and_its_quarters(kind):
    model = adapter(kind)
    engine = Engine(model, MemoryPolicy(), EngineConfig(max_answer_tokens=4))
    for frame in frames(3):
        engine.observe(frame)
    cache = engine.cache
    before = [b[:, :, : cache.size].clone() for b in (cache.raw, cache.value)]
    aside = close_up(engine, quarters(frames(1)[0]))
    assert len(aside.cache) > len(close_up(engine, frames(1)).cache) > 0
    aside.ask("What is it?", 0.0, [("The quarters", "Yes")], recall=False)
    while not aside.turn.done:
        aside.step()
    assert aside.turn.text
    after = (b[:, :, : cache.size] for b in (cache.raw, cache.value))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
