"""Engine: branches leave no trace, watching goes on while speaking."""
import pytest
import torch

from desk import BLUE, GREEN, RED, WHITE, Desk, frame
from models.fake import FakeLLM
from streamassist.cache import KVCache
from streamassist.config import Config, EngineConfig
from streamassist.types import Answer, Query


def state(cache: KVCache) -> list[torch.Tensor]:
    used = slice(0, cache.size)
    buffers = (cache.raw, cache.rotated, cache.value)
    return [b[:, :, used] for b in buffers] + list(cache.used().fields())[:4]


def assert_same(one: KVCache, two: KVCache) -> None:
    assert one.next_position == two.next_position
    for a, b in zip(state(one), state(two), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def engine(memory: str = "full", branch: str = "follow"):
    return Desk(config=Config(memory=memory, engine=EngineConfig(branch=branch))).make_engine()


def say(engine, words: int = 100) -> str:
    text = ""
    for _ in range(words):
        if engine.turn.done:
            break
        text += engine.step()
    return text


@pytest.mark.parametrize("branch", ["follow", "overlap"])
@pytest.mark.parametrize(
    "memory", ["full", "last_n", "attention_sinks:budget=12", "uniform:budget=12"]
)
def test_a_finished_or_interrupted_answer_leaves_no_trace(memory, branch):
    asked, silent = engine(memory, branch), engine(memory, branch)
    for i in range(4):
        asked.observe(frame(RED, i))
        silent.observe(frame(RED, i))
    asked.ask("What do you see?", 1.5)
    asked.step()
    for i in range(4, 8):   # watching goes on in the middle of the answer
        asked.observe(frame(GREEN, i))
        silent.observe(frame(GREEN, i))
        asked.step()
    asked.close()
    assert_same(asked.cache, silent.cache)


def test_an_interrupt_equals_a_run_stopped_at_the_same_token():
    one, two = engine(), engine()
    for e in (one, two):
        e.observe(frame(RED, 0))
        e.ask("What?", 0.0)
    for _ in range(3):
        one.step()
        two.step()
    assert one.turn.ids == two.turn.ids
    assert_same(one.cache, two.cache)
    two.step()
    one.close()
    two.close()
    assert_same(one.cache, two.cache)


def test_the_answer_sees_frames_that_came_after_the_question():
    e = engine()
    e.observe(frame(RED, 0))
    e.ask("What?", 0.0)
    assert e.step() == "I see a"
    e.observe(frame(WHITE, 1))
    assert e.step() + e.step() == " bright grey"


def test_branch_follows_the_newest_frame_or_stays():
    for branch, moved in (("follow", 4), ("overlap", 0)):
        e = engine(branch=branch)
        e.observe(frame(RED, 0))
        e.ask("What?", 0.0)
        before = int(e.cache.used().position[0, -1])
        e.observe(frame(RED, 1))
        assert int(e.cache.used().position[0, -1]) - before == moved


def test_a_probe_leaves_no_trace_not_even_in_an_open_answer():
    e, twin = engine(), engine()
    for x in (e, twin):
        x.observe(frame(RED, 0))
        x.ask("What?", 0.0)
        x.step()
    assert e.probe("a red picture", 0.0) > 0.9 > 0.1 > e.probe("a blue picture", 0.0)
    assert_same(e.cache, twin.cache)
    assert say(e) == say(twin)


def test_change_and_novelty():
    e = engine()
    first = e.observe(frame(RED, 0))
    assert first.change == first.novelty == 1.0
    e.mark_spoken()
    assert e.observe(frame(RED, 1)).change == pytest.approx(0, abs=1e-6)
    jump = e.observe(frame(BLUE, 2))
    still = e.observe(frame(BLUE, 3))
    assert jump.change > 0.5 and jump.novelty > 0.5
    assert still.change == pytest.approx(0, abs=1e-6) and still.novelty == jump.novelty


def test_an_answer_that_goes_in_circles_is_stopped():
    model = FakeLLM(answers={"loop": "ab" * 500})
    e = Desk(model, Config(engine=EngineConfig(max_answer_tokens=400))).make_engine()
    e.observe(frame(RED, 0))
    e.ask("loop", 0.0)
    say(e, 500)
    assert e.turn.done and len(e.turn.text) < 20


def test_characters_of_several_tokens_arrive_whole():
    e = Desk(FakeLLM(answers={"snow": "☃ und Käse"})).make_engine()
    e.observe(frame(RED, 0))
    e.ask("snow", 0.0)
    pieces = []
    while not e.turn.done:
        pieces.append(e.step())
    assert "".join(pieces) == "☃ und Käse" and not any("\ufffd" in p for p in pieces)


def test_a_question_that_fails_leaves_the_stream_intact():
    e, silent = engine(), engine()
    e.observe(frame(RED, 0))
    silent.observe(frame(RED, 0))
    with pytest.raises(RuntimeError):
        e.ask("please fail", 0.0)
    assert e.turn is None
    assert_same(e.cache, silent.cache)


def test_one_turn_at_a_time():
    e = engine()
    e.observe(frame(RED, 0))
    e.ask("What?", 0.0)
    with pytest.raises(RuntimeError):
        e.ask("And?", 0.0)


def test_the_cache_never_outgrows_the_model():
    model = FakeLLM(max_context=1024 + 40)
    e = Desk(model, Config(memory="full")).make_engine()
    for i in range(30):
        e.observe(frame(RED, i))
        assert len(e.cache) <= 40
    assert e.cache.frames() == list(range(20, 30))


@pytest.mark.parametrize(("question", "since"), [("What is there now?", 4.0), ("What was it?", 0)])
def test_an_answer_says_how_far_back_it_looked(question, since):
    desk = Desk(config=Config(memory="recall:recent=2"))
    desk.watch(*[RED, BLUE, GREEN] * 3, WHITE, talk=False)
    desk.submit(Query(question))
    desk.talk()
    assert desk.of(Answer)[-1].span == (since, 4.5)
