"""Read text: with the package's real weights, on words that are drawn here."""
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest

from desk import Desk
from helping import answers, helped, look, show, written
from models.fake import FakeLLM
from places import ROOT
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.tools.base import MAX_FINDING
from streamassist.tools.read_text import (
    PACKAGES,
    Line,
    ReadText,
    fitted,
    in_reading_order,
    picture_for,
)
from streamassist.types import Frame, Notice, Query

TOOL = ReadText()   # one for all: it loads its weights once


def read(*lines: str, **picture) -> str:
    desk = Desk()
    show(desk, written(*lines, **picture))
    return TOOL.run("What does it say?", look(desk.session)).text


@pytest.mark.parametrize(
    "question, wanted",
    [
        ("Read it to me", True),
        ("What does the sign say?", True),
        ("Which number is on the bus?", True),
        ("What is written there?", True),
        ("What's the licence plate?", True),
        ("Is she reading?", False),
        ("What do you see?", False),
        ("Are you ready?", False),
    ],
)
def test_words_that_want_it(question, wanted):
    assert TOOL.wants(question) is wanted


# ---------------------------------------------------------------- with the real weights

@pytest.mark.parametrize("width, height, size", [(320, 240, 24), (640, 480, 36), (1920, 1080, 60)])
def test_words_are_read_line_by_line(width, height, size):
    text = read("EXIT 12", "Room 204", width=width, height=height, size=size)
    assert text == '"EXIT 12 / Room 204"'


def test_nothing_is_read_where_nothing_is_written():
    assert read() == "I can read no text."
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    assert [line for line in TOOL.read(Frame(noise, 0.0, 0)) if line.sure >= 0.5] == []


def test_what_is_hardly_legible_is_left_out():
    class Guess(ReadText):
        def read(self, frame: Frame) -> list[Line]:
            return [Line("guess", 0.49, 0, 0, 10), Line("word", 0.5, 0, 20, 30)]

    desk = Desk()
    show(desk, written())
    assert Guess().run("Read it", look(desk.session)).text == '"word"'


def test_much_text_is_cut():
    lines = [f"The quick brown fox jumps {i}" for i in range(16)]
    text = read(*lines, width=1280, height=720, size=20)
    assert text.startswith('"The quick brown fox jumps 0 / The quick brown fox jumps 1')
    assert text.endswith('..."') and len(text) <= MAX_FINDING + 2


def test_reading_fetches_nothing(monkeypatch):
    def refuse(*args):
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    frame = Frame(written("Gate 7"), 0.0, 0)
    assert [line.text for line in ReadText().read(frame)] == ["Gate 7"]


def test_an_answer_says_that_text_was_read_and_what():
    desk = helped(Desk(FakeLLM(), Config(response="on_query")), TOOL)
    show(desk, written("BUS 17 to Central"))
    desk.submit(Query("What does the sign say?"))
    (answer,) = answers(desk)
    assert answer.used == ['read the text in the picture: "BUS 17 to Central"']
    assert answer.evidence == [{"t": 0.0, "frame": 0}]
    assert answer.text == "I see a dark blue picture."   # the model's own, as it takes no findings


def test_without_the_package_the_question_is_answered_and_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    desk = helped(Desk(config=Config(response="on_query")), ReadText())
    show(desk, written("BUS 17"))
    for _ in range(2):
        desk.submit(Query("What does the sign say?"))
    said = answers(desk, 2)
    assert [(a.text, a.used) for a in said] == [("I see a dark blue picture.", [])] * 2
    notices = [notice.text for notice in desk.of(Notice)]
    assert len(notices) == 2 and "pip install rapidocr==3.10.0 onnxruntime==1.31.1" in notices[0]


def test_the_pins_are_those_of_the_requirements():
    pinned = (ROOT / "requirements.txt").read_text().splitlines()
    assert set(PACKAGES.split()) <= set(pinned)


# ---------------------------------------------------------------- pictures and lines

def test_a_time_that_is_named_picks_its_picture():
    desk = Desk(config=Config(response="on_query"))
    for i in range(30):
        show(desk, np.full((120, 160, 3), 8 * i, np.uint8))
    held = look(desk.session)
    assert picture_for("Read it", held).index == 29
    near = picture_for("What did it say 2 seconds ago?", held)
    assert near.index == 25 and near is held.recent[3]
    far = picture_for("What did it say 10 seconds ago?", held)
    assert (far.index, far.pts) == (9, 4.5) and abs(int(far.image.mean()) - 72) < 3


def test_a_picture_that_is_gone_is_told():
    desk = Desk(config=Config(response="on_query"))
    for _ in range(30):
        show(desk, written())
    lost = replace(look(desk.session), thumbnail=lambda frame: None)
    with pytest.raises(StreamAssistError, match="is gone"):
        picture_for("What did it say 10 seconds ago?", lost)


@pytest.mark.parametrize(
    "size, fit", [((480, 640), (736, 981)), ((1080, 1920), (720, 1280)), ((40, 4000), (13, 1280)),
                  ((2, 200), (13, 1280)), ((100, 100), (736, 736))],
)
def test_pictures_are_brought_to_a_bounded_size(size, fit):
    assert fitted(np.zeros((*size, 3), np.uint8)).shape[:2] == fit


def test_reading_order():
    def piece(text: str, left: float, top: float, height: float = 10) -> Line:
        return Line(text, 1.0, left, top, top + height)

    lines = [piece("d", 50, 41), piece("b", 60, 2), piece("a", 5, 4), piece("c", 0, 40),
             piece("e", 0, 52), piece("tall", 90, 0, 12)]
    assert in_reading_order(lines) == ["a b tall", "c d", "e"]
    assert in_reading_order([]) == []
