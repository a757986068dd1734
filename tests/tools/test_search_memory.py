"""Search memory: what the memory policy brings back, and what was said with the same words."""
import time
from dataclasses import replace

import pytest

from desk import BLUE, GREEN, RED, Desk
from helping import look
from streamassist.config import Config
from streamassist.tools.search_memory import NOTHING, SearchMemory, find, recalled, said, stem
from streamassist.types import Alert, Note, Remark

TOOL = SearchMemory()


def watched(memory: str = "recall:budget=16,recent=2") -> Desk:
    """Green at 1 s, blue at 3 s, red else, up to 10 s."""
    desk = Desk(config=Config(memory=memory, response="on_query"))
    colours = [RED] * 20
    colours[2], colours[6] = GREEN, BLUE
    desk.watch(*colours, talk=False)
    return desk


@pytest.mark.parametrize(
    "question, wanted",
    [
        ("When did you see the dog?", True),
        ("How often was there a bus?", True),
        ("Where did I put my keys?", True),
        ("When was the last time?", True),
        ("Have you ever seen a cat?", True),
        ("What do you see?", False),
        ("Tell me when a dog comes", False),
        ("Where is the dog?", False),
    ],
)
def test_words_that_want_it(question, wanted):
    assert TOOL.wants(question) is wanted


def test_it_says_when_a_thing_was_seen_and_shows_the_picture():
    desk = watched()
    now = time.mktime((2026, 3, 1, 14, 52, 0, 0, 0, -1))
    desk.clock.wall = lambda: now
    found = TOOL.run("When did you see the green picture?", look(desk.session))
    assert found.did == "searched memory" and found.frames[0] == (2, 1.0)
    assert "14:51, 8 seconds ago" in found.text


def test_a_thing_that_was_never_there_is_not_found():
    found = TOOL.run("When did you see the grey picture?", look(watched().session))
    assert (found.text, found.frames) == (NOTHING, [])


def test_the_question_is_taken_for_one_about_the_past():
    """A policy with a gate would not look back for words of the present."""
    desk = look(watched().session)
    question = "Is there the green picture?"
    assert recalled(question, desk) == [] and find(question, desk)[0].frame == 2


@pytest.mark.parametrize("memory", ["full", "last_n", "recall:budget=16,recent=2", "rekv"])
def test_searching_leaves_the_stream_as_it_was(memory):
    desk = watched(memory)
    cache = desk.session.engine.cache
    before = [b.clone() for b in (cache.raw, cache.value)], cache.size, cache.next_position
    find("When did you see the green picture?", look(desk.session))
    assert (cache.size, cache.next_position) == before[1:]
    assert all(a.equal(b) for a, b in zip(before[0], (cache.raw, cache.value), strict=True))


def test_what_was_said_is_searched_too():
    desk = watched("last_n")
    emit = desk.session.emit
    emit(Remark, 2.0, text='A dog says "sit".', evidence=[{"t": 1.5, "frame": 3}])
    emit(Remark, 4.0, text="A cat sleeps.", evidence=[{"t": 4.0, "frame": 8}])
    emit(Alert, 6.0, text="dogs on the sofa", evidence=[{"t": 6.0, "frame": 12}])
    found = TOOL.run("When did you see the dog?", look(desk.session))
    assert found.frames == [(12, 6.0), (3, 1.5)]
    assert found.text.index("A dog says 'sit'.") < found.text.index("dogs on the sofa")
    assert "cat" not in found.text


def test_more_of_the_words_come_first_and_notes_count():
    desk = watched("last_n")
    events = (
        Note(9.0, 0.0, 8.0, "A red car."), Note(3.0, 0.0, 2.0, "A red car in the rain."),
        Note(5.0, 0.0, 4.0, "Nothing."),
    )
    told = replace(look(desk.session), transcript=events)
    moments = said("When did the red car stand in the rain?", told)
    assert [(m.pts, m.frame) for m in moments] == [(3.0, None), (9.0, None)]
    assert said("When was it?", told) == []


def test_a_frame_that_is_remarked_on_and_recalled_is_one_moment_with_words():
    desk = watched()
    desk.session.emit(Remark, 1.0, text="A green picture.", evidence=[{"t": 1.0, "frame": 2}])
    found = TOOL.run("When did you see the green picture?", look(desk.session))
    assert found.frames.count((2, 1.0)) == 1 and found.text.count('"A green picture."') == 1


@pytest.mark.parametrize("word, stemmed", [("dogs", "dog"), ("bus", "bus"), ("glass", "glass")])
def test_plurals(word, stemmed):
    assert stem(word) == stemmed
