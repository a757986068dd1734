"""The delegate in a conversation: asked by the user or an unsure model, while watching goes on."""
from dataclasses import replace

import numpy as np
import pytest

from app import make_timing
from desk import BLUE, GREEN, RED, Desk
from helping import LOCAL, QUIET, Lookup, answers, helped, texts, until
from models.fake import FakeLLM
from sse_server import Handler, Server, hang, refuse, say, serving
from streamassist.clock import RealClock
from streamassist.config import EngineConfig
from streamassist.delegate import Delegate
from streamassist.frames import RawFrame
from streamassist.session import Session
from streamassist.tools import make_tools
from streamassist.tools.base import Found
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    Interrupt,
    Notice,
    Query,
    Remark,
    ReplyStarted,
    TextDelta,
)
from streamassist.worker import Worker


class Wavering(FakeLLM):
    """As unsure of each token as `heat` makes it: 20 gives the best one a chance of 2 %."""

    heat = 20.0

    def forward(self, chunk, cache):
        return super().forward(chunk, cache) / self.heat


def asking(server: Server, model: FakeLLM | None = None, **settings) -> Desk:
    """A desk with a delegate, on which one red frame was seen."""
    desk = Desk(model or FakeLLM(), QUIET)
    helped(desk, delegate=Delegate(server.url, "big", "", desk.clock, **settings))
    desk.watch(RED)
    return desk


# ---------------------------------------------------------------- the delegate, when asked

def test_the_expert_is_asked_shown_and_quoted():
    with serving(say("A red ", "wall.")) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what is it?"))
        (answer,) = answers(desk)
    assert answer.text == "A red wall." == "".join(texts(desk, TextDelta))
    assert answer.used == ["asked 127.0.0.1 (big)"] and not answer.interrupted
    assert answer.question == "Ask the expert: what is it?" and len(desk.of(ReplyStarted)) == 1
    assert answer.evidence == [{"t": 0.0, "frame": 0}] and answer.span == (0.0, 0.0)
    assert server.requests[0][2]["messages"][1]["content"][-1]["text"] == "what is it?"
    assert desk.session.engine.turn is None and not desk.of(Notice)


def test_it_is_told_what_tools_and_memory_found():
    with serving(say("Yes.")) as server:
        desk = Desk(config=replace(QUIET, memory="recall:budget=16,recent=2"))
        tool = Lookup(lambda: Found("searched", '"a kite"', [(1, 0.5)]))
        helped(desk, tool, delegate=Delegate(server.url, "big", "", desk.clock))
        desk.watch(RED, RED, RED, GREEN, *[RED] * 16)
        desk.submit(Query("Think hard: when did you see the green picture? look up"))
        (answer,) = answers(desk)
    system, user = server.requests[0][2]["messages"]
    assert 'Looked up for you: searched: "a kite".' in system["content"]
    assert sum(part["type"] == "image_url" for part in user["content"]) == 4
    assert answer.used == ['searched: "a kite"', "asked 127.0.0.1 (big)"]
    assert answer.evidence == [{"t": 0.5, "frame": 1}] and answer.span == (0.5, 9.5)


def test_watching_goes_on_while_it_thinks_and_words_come_between_frames():
    def script(handler: Handler) -> None:
        handler.words("One", end=False)
        handler.server.release.wait(20)
        handler.line('data: {"choices": [{"delta": {"content": " two."}}]}')
        handler.line("data: [DONE]")

    with serving(script) as server:
        desk = asking(server)
        desk.submit(AddRule("a green picture"))
        desk.submit(Query("Ask the expert: what?"))
        until(lambda: desk.of(TextDelta), lambda: desk.talk(1))
        desk.watch(GREEN, GREEN, GREEN)
        assert len(desk.of(Alert)) == 1 and desk.session.engine.cache.frames() == [0, 1, 2, 3]
        assert desk.session.speaker.speaking and not desk.of(Answer)
        server.release.set()
        assert answers(desk)[0].text == "One two."


def test_the_workers_thread_takes_every_frame_meanwhile():
    config = replace(QUIET, engine=EngineConfig(fps=30))
    desk = Desk(config=config)

    def make_session(emit) -> Session:
        desk.session = Session(
            desk.make_engine, make_timing(config), config, RealClock(), emit
        )
        helped(desk, delegate=Delegate(server.url, "big", "", RealClock()))
        return desk.session

    with serving(hang) as server:
        worker = Worker(make_session, config, RealClock())
        worker.start()
        try:
            worker.offer(raw(0.0))
            worker.submit(Query("Ask the expert: what?"))
            until(lambda: server.requests)
            for i in range(1, 21):
                worker.offer(raw(i / 20))
                until(lambda count=i + 1: worker.session.frames_used == count)
            assert worker.session.speaker.speaking.first_word_ms is None   # it still waits
            worker.submit(Interrupt())
            assert server.hung_up.wait(60)
        finally:
            worker.stop()


def raw(pts: float) -> RawFrame:
    return RawFrame(pts, np.full((24, 32, 3), RED, np.uint8))


def test_an_interrupt_hangs_up_and_keeps_what_was_said():
    def script(handler: Handler) -> None:
        handler.words("One", end=False)
        handler.wait()

    with serving(script) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what?"))
        until(lambda: desk.of(TextDelta), lambda: desk.talk(1))
        desk.submit(Interrupt())
        (answer,) = desk.of(Answer)
        assert (answer.text, answer.interrupted) == ("One", True) and not desk.session.busy
        assert server.hung_up.wait(60)
        assert answer.used == ["asked 127.0.0.1 (big)"]


def test_a_fault_of_the_model_hangs_up_too():
    with serving(hang) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what?"))
        until(lambda: server.requests, lambda: desk.talk(1))
        desk.session.recover(RuntimeError("no"), desk.now)
        assert server.hung_up.wait(60) and desk.of(Answer)[0].interrupted


# ---------------------------------------------------------------- the delegate, when it fails

def test_when_it_fails_the_local_model_answers():
    with serving(refuse(503)) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what is it?"))
        (answer,) = answers(desk)
    assert (answer.text, answer.interrupted) == (LOCAL, False)
    assert answer.used == ["asked 127.0.0.1 (big) in vain"]
    (notice,) = texts(desk, Notice)
    assert notice.endswith("failed with status 503; I answer myself.") and len(server.requests) == 1


def test_when_it_is_too_slow_the_local_model_answers():
    with serving(hang) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what is it?"))
        until(lambda: server.requests, lambda: desk.talk(1))
        desk.clock.now += 60
        (answer,) = answers(desk)
        assert answer.text == LOCAL and server.hung_up.wait(60)
    assert "did not answer within 60 s; I answer myself." in texts(desk, Notice)[0]


def test_when_it_breaks_off_its_words_stay_and_the_local_model_answers():
    with serving(say("Half of", end=False)) as server:
        desk = asking(server)
        desk.submit(Query("Ask the expert: what is it?"))
        half, whole = answers(desk, 2)
    assert (half.text, half.interrupted, half.used) == ("Half of", True, ["asked 127.0.0.1 (big)"])
    assert (whole.text, whole.interrupted) == (LOCAL, False) and whole.turn > half.turn
    said = {d.turn: "" for d in desk.of(TextDelta)}
    for delta in desk.of(TextDelta):
        said[delta.turn] += delta.text
    assert said == {half.turn: "Half of", whole.turn: LOCAL}


# ---------------------------------------------------------------- the delegate, on its own accord

def test_a_model_that_is_unsure_hands_over_before_its_first_word():
    with serving(say("A wall.")) as server:
        desk = asking(server, Wavering())
        desk.submit(Query("What is it?"))
        (answer,) = answers(desk)
    assert answer.text == "A wall." == "".join(texts(desk, TextDelta))
    assert answer.used == ["asked 127.0.0.1 (big)"]


def test_a_model_that_is_sure_answers_itself_at_once():
    with serving(say("A wall.")) as server:
        desk = asking(server, FakeLLM(answers={"long": "Undecided about that."}))
        for question in ("What is it?", "long"):
            desk.submit(Query(question))
        said = answers(desk, 2)
        assert [(a.text, a.used) for a in said] == [(LOCAL, []), ("Undecided about that.", [])]
        assert "".join(texts(desk, TextDelta)) == LOCAL + "Undecided about that."
        assert not server.requests


@pytest.mark.parametrize("unsure, asked", [(-3.9, False), (-3.6, True)])
def test_how_unsure_is_a_setting(unsure, asked):
    """log(1 / (1 + 511 exp(-50 / 20))) is -3.76."""
    with serving(say("A wall.")) as server:
        desk = asking(server, Wavering(), unsure=unsure)
        desk.submit(Query("What is it?"))
        assert bool(answers(desk)[0].used) is asked


def test_the_models_own_token_for_it_counts():
    model = FakeLLM(answers={"hard": "\x07 words"})
    model.choice_ids = {"delegate": 7}
    with serving(say("Done.")) as server:
        desk = asking(server, model)
        desk.submit(Query("hard"))
        desk.submit(Query("What?"))
        hard, easy = answers(desk, 2)
    assert (hard.text, easy.text, easy.used) == ("Done.", LOCAL, [])


def test_an_unsure_model_answers_after_all_when_the_delegate_fails():
    with serving(refuse(500)) as server:
        desk = asking(server, Wavering())
        desk.submit(Query("What is it?"))
        (answer,) = answers(desk)
    assert answer.text == LOCAL and answer.used == ["asked 127.0.0.1 (big) in vain"]
    assert len(server.requests) == 1


def test_remarks_are_never_sent_anywhere():
    with serving(say("A wall.")) as server:
        desk = Desk(Wavering())
        helped(desk, *make_tools("all"), delegate=Delegate(server.url, "big", "", desk.clock))
        desk.watch(*[RED] * 20, *[BLUE] * 20)
        assert len(desk.of(Remark)) == 2
    assert not server.requests
