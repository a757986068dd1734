"""When notes are taken, which are kept, which go with a question; of a model only its words."""
import pytest

from models.fake import FakeLLM
from streamassist.config import make_method
from streamassist.errors import StreamAssistError
from streamassist.thinking import METHODS, Thinking, with_notes
from streamassist.thinking.base import clock
from streamassist.thinking.streaming_notes import FIRST, StreamingNotes


def notes(taught: bool = True, **settings) -> StreamingNotes:
    """Streaming notes for a model that was taught to read earlier turns, or for nano's like."""
    thinking = StreamingNotes(**settings)
    thinking.attach(FakeLLM(history_turns=2 if taught else 0))
    return thinking


def noted(thinking: StreamingNotes, *texts: str, step: float = 8.0) -> StreamingNotes:
    """A note at 8, 16, ... s."""
    for text in texts:
        begin = thinking.notes[-1].t if thinking.notes else 0.0
        thinking.due(begin + step, True)
        thinking.take(text, begin, begin + step)
    return thinking


# ---------------------------------------------------------------- when

def test_a_note_is_due_every_so_often_when_nothing_else_is_to_be_said():
    thinking = notes(every_s=8.0)
    assert thinking.due(3.0, True) is None            # the stream begins here
    assert thinking.due(10.9, True) is None
    assert thinking.due(11.0, False) is None          # an answer comes first
    assert thinking.due(11.5, True) == FIRST
    assert thinking.since(11.5) == 3.0
    thinking.take("A man sits.", 3.0, 11.5)
    assert thinking.due(19.0, True) is None
    assert thinking.due(19.5, True) is not None
    assert thinking.since(19.5) == 11.5


def test_a_note_that_was_interrupted_is_still_due_and_covers_more():
    thinking = notes()
    thinking.due(0.0, True)
    assert thinking.due(8.0, True)
    assert thinking.due(12.0, False) is None
    assert thinking.due(14.0, True)
    assert thinking.since(14.0) == 0.0


def test_the_model_is_asked_for_what_is_new_with_the_earlier_notes():
    thinking = noted(notes(), "A man sits down.", "He drinks tea.")
    prompt = thinking.due(24.0, True)
    assert "0:08 A man sits down. 0:16 He drinks tea." in prompt
    assert "only what is new" in prompt and "Do not answer" in prompt


def test_a_model_not_taught_to_take_notes_describes():
    assert noted(notes(taught=False), "A man sits.").due(16.0, True) == "Describe the picture."


# ---------------------------------------------------------------- which are kept

def test_a_note_that_repeats_one_of_the_last_five_is_dropped_and_counted():
    thinking = noted(notes(), "One man.", "2", "3", "4", "5")
    assert not thinking.take("  one MAN", 40.0, 48.0)
    assert (len(thinking.notes), thinking.repeated) == (5, 1)
    assert thinking.due(55.0, True) is None            # its clip is over all the same
    noted(thinking, "6")
    assert thinking.take("One man.", 48.0, 56.0)       # six ago
    assert thinking.repeated == 1


def test_an_empty_note_is_no_note_and_no_repetition():
    thinking = notes()
    assert not thinking.take(" \n", 0.0, 8.0)
    assert (thinking.notes, thinking.repeated) == ([], 0)


def test_the_oldest_notes_leave():
    thinking = noted(notes(most=3), *"abcde")
    assert thinking.notes == [(16.0, 24.0, "c"), (24.0, 32.0, "d"), (32.0, 40.0, "e")]


def test_a_note_is_one_line():
    assert noted(notes(), "A man.\n\nHe runs. ").notes[0].line == "0:08 A man. He runs."


# ---------------------------------------------------------------- forgetting

def test_forgetting_takes_the_notes_that_reach_into_it_and_the_running_clip():
    thinking = noted(notes(), "a", "b", "c")
    thinking.due(30.0, True)
    thinking.forget(16.0)
    assert [note.text for note in thinking.notes] == ["a"]
    assert thinking.since(30.0) == 16.0


def test_another_stream_begins_without_notes():
    thinking = noted(notes(), "a", "a")
    thinking.reset()
    assert (thinking.notes, thinking.repeated) == ([], 0)
    assert thinking.due(100.0, True) is None and thinking.since(100.0) == 100.0


# ---------------------------------------------------------------- with a question

def test_a_taught_model_reads_notes_with_every_question():
    thinking = noted(notes(), "A man sits.", "A dog comes.")
    assert thinking.context("What is there now?") == ["0:08 A man sits.", "0:16 A dog comes."]


@pytest.mark.parametrize(("question", "reads"), [
    ("Did a dog appear earlier?", True),         # a thing
    ("What did you see first?", True),           # a time when another clip was on
    ("What happened 10 seconds ago?", True),
    ("What happened just now?", False),          # the clip that still is
    ("What did you see before?", False),         # neither
    ("Is there a dog now?", False),
    ("Describe a dog.", False),
])
def test_a_model_that_was_not_taught_reads_notes_where_they_help_it(question, reads):
    said = noted(notes(taught=False), "A man sits.", "A dog comes.")
    said.due(20.0, True)
    assert bool(said.context(question)) == reads


def test_notes_that_exceed_the_budget_stay_behind_the_oldest_first():
    """The made-up model has a token a byte: 15, 17 and 16 of them."""
    said = noted(notes(budget=33), "A man sits", "A dog comes.", "A car stops")
    assert said.context("What was it?") == ["0:16 A dog comes.", "0:24 A car stops"]
    said.budget = 32
    assert said.context("What was it?") == ["0:24 A car stops"]
    assert "0:24 A car stops" in said.due(40.0, True) and "0:16" not in said.due(40.0, True)


def test_a_question_about_a_time_reads_the_notes_nearest_to_it():
    said = noted(notes(budget=17), "A man sits", "A dog comes.", "A car stops")
    assert said.context("What happened at 0:17?") == ["0:16 A dog comes."]
    assert said.context("What was there at the start?") == ["0:08 A man sits"]


def test_what_is_put_before_a_question():
    assert with_notes(["0:08 A man runs.", "1:00:05 A dog."], "Who was it?") == (
        "Earlier: 0:08 A man runs. 1:00:05 A dog. Who was it?"
    )
    assert with_notes([], "Who is it?") == "Who is it?"
    assert [clock(s) for s in (0.4, 65.9, 3605.0)] == ["0:00", "1:05", "1:00:05"]


def test_whether_a_note_tells_of_what_is_asked_for():
    said = noted(notes(), "A man sits.", "A brown dog comes.")
    assert said.knows_of("Did a dog appear earlier?")
    assert not said.knows_of("Did a cat appear earlier?")
    assert not said.knows_of("What did you see before?")   # names nothing


# ---------------------------------------------------------------- settings

@pytest.mark.parametrize(("spec", "mend"), [
    ("streaming_notes:every_s=0", "every_s must be between 0.5 and 3600"),
    ("segment_notes:most=0", "most must be between 1 and 1000"),
    ("segment_notes:budget=5000", "budget must be between 1 and 512"),
    ("streaming_notes:longest=0", "longest must be between 1 and 512"),
    ("none:most=3", "has no setting 'most'"),
    ("deep", "choose one of: none, segment_notes, streaming_notes"),
])
def test_wrong_settings_are_refused_with_the_mend(spec, mend):
    with pytest.raises(StreamAssistError, match=mend):
        make_method("thinking", spec, METHODS)


def test_no_thinking_takes_no_notes():
    thinking = Thinking()
    thinking.attach(FakeLLM())
    assert thinking.due(1e6, True) is None and not thinking.take("A man.", 0.0, 1.0)
    assert (thinking.context("What was it?"), thinking.target("What was it?")) == ([], None)
    assert thinking.notes == [] and not thinking.knows_of("a man")
