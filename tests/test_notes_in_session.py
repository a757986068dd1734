"""Notes to itself in a conversation: taken while nothing is said, told, and giving way."""
from desk import GREEN, RED, Desk
from models.fake import FakeLLM
from streamassist.config import Config
from streamassist.engine import Engine
from streamassist.memory.last_n import LastN
from streamassist.thinking import METHODS
from streamassist.types import Answer, Forget, Interrupt, Note, Query


class Noting(Desk):
    """A desk whose engine takes notes."""

    def make_engine(self) -> Engine:
        notes = METHODS["streaming_notes"](every_s=2.0)
        return Engine(self.model, LastN(4), self.config.engine, thinking=notes)


def noting() -> Noting:
    return Noting(FakeLLM(), Config(response="on_query"))


def test_notes_are_taken_told_and_kept_in_the_transcript():
    desk = noting()
    desk.watch(*[RED] * 8, *[GREEN] * 8)
    notes = desk.of(Note)
    assert [n.text for n in notes][:1] == ["I see a dark red picture."]
    assert any("green" in n.text for n in notes) and all(n.since < n.t for n in notes)
    assert [e["type"] for e in desk.session.history()] == ["note"] * len(notes)
    assert not desk.of(Answer)


def test_a_question_goes_first_and_a_note_that_was_begun_gives_way():
    desk = noting()
    desk.watch(*[RED] * 5, talk=False)
    assert desk.session.busy
    desk.session.advance(desk.now)
    assert desk.session.engine.turn.noting
    desk.submit(Query("What is it?"))
    desk.talk(40)
    assert desk.of(Answer)[0].text == "I see a dark red picture."


def test_an_interrupt_and_forgetting_end_a_note():
    desk = noting()
    desk.watch(*[RED] * 5, talk=False)
    desk.session.advance(desk.now)
    desk.submit(Interrupt())
    assert desk.session.engine.turn is None
    desk.talk()
    assert desk.of(Note)
    desk.submit(Forget())
    assert not desk.session.history() and not desk.session.engine.thinking.notes
