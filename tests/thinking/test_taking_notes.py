"""Notes written by the engine between answers; streaming notes, on the clip alone."""
import pytest

from thinking.writer import made_up, taken, watch

BOTH = ("streaming_notes", "segment_notes")


# ---------------------------------------------------------------- a turn like any other

@pytest.mark.parametrize("method", BOTH)
def test_a_note_is_written_and_handed_over(method):
    engine = made_up(method)
    watch(engine, 0, 8)
    assert not engine.note_due(7.5) and engine.note(7.5) is None
    watch(engine, 8, 8.5)
    assert engine.note_due(8.0)
    assert taken(engine, 8.0) == (0.0, 8.0, "A dog comes.")
    assert engine.turn is None and not engine.note_due(8.0)
    assert engine.figures()["notes"]["kept"] == 1
    assert taken(engine, 16.0) is None   # the same words
    assert engine.figures()["notes"]["repeated"] == 1


@pytest.mark.parametrize("method", BOTH)
def test_a_question_interrupts_a_note_and_a_note_no_answer(method):
    engine = made_up(method)
    watch(engine, 0, 9)
    engine.note(8.5)
    engine.step()
    turn = engine.ask("What did you see?", 8.5)
    assert engine.turn is turn and not turn.noting
    assert engine.thinking.notes == []
    assert engine.note(20.0) is None and not engine.note_due(20.0)   # an answer is being given
    engine.close()
    assert engine.note_due(8.5)


@pytest.mark.parametrize("method", BOTH)
def test_a_note_that_fails_leaves_the_stream_as_it_was(method):
    engine = made_up(method)
    watch(engine, 0, 9)
    size, position = engine.cache.size, engine.cache.next_position
    engine.model.fail_on = "note in one"
    with pytest.raises(RuntimeError):
        engine.note(8.5)
    assert engine.turn is None
    assert (engine.cache.size, engine.cache.next_position) == (size, position)


@pytest.mark.parametrize("method", BOTH)
def test_forgetting_ends_a_note_and_takes_what_reaches_into_it(method):
    engine = made_up(method)
    watch(engine, 0, 9)
    taken(engine, 8.0)
    watch(engine, 9, 17)
    taken(engine, 16.0, "A man sits.")
    watch(engine, 17, 19)
    engine.thinking.every_s = 1.0
    engine.note(18.5)
    engine.forget(10.0)
    assert engine.turn is None
    assert [note.text for note in engine.thinking.notes] == ["A dog comes."]
    engine.reset()
    assert engine.thinking.notes == [] and engine.thinking.bytes == 0


# ---------------------------------------------------------------- streaming notes

def test_a_streaming_note_reads_its_clip_alone_thinned_to_what_the_model_reads_at_once():
    engine = made_up("streaming_notes")
    engine.model.frames_at_once = 4
    watch(engine, 0, 9)
    taken(engine, 8.0)
    watch(engine, 9, 17)
    turn = engine.note(16.5)
    assert turn.cache is not engine.cache
    assert turn.cache.frames() == [16, 22, 27, 33]   # 8.0, 11.0, 13.5, 16.5 s


def test_a_model_that_reads_one_frame_gets_the_newest():
    engine = made_up("streaming_notes")
    engine.model.frames_at_once = 1
    watch(engine, 0, 9)
    assert engine.note(8.5).cache.frames() == [17]


def test_a_question_comes_with_the_notes_and_is_answered_as_such():
    engine = made_up("streaming_notes")
    watch(engine, 0, 9)
    taken(engine, 8.0)
    turn = engine.ask("What did you see?", 9.0)
    ids = turn.cache.value[0, 0, turn.first_slot : turn.cache.size, 1].int().tolist()
    told = "Earlier: 0:08 A dog comes. What did you see?"
    assert ids == engine.model.question_ids(told)
    assert turn.question == "What did you see?"
    engine.close()
    remark = engine.ask("What did you see?", 9.0, recall=False)
    assert remark.cache.size - remark.first_slot == len(engine.model.question_ids(remark.question))


def test_what_only_a_note_knows_of_was_seen():
    """A memory that denies everything, as `recall` does what none of its pages shows."""
    engine = made_up("streaming_notes")
    engine.memory.supported = lambda: False
    watch(engine, 0, 9)
    taken(engine, 8.0)
    assert not engine.ask("What did the dog do?", 9.0).unseen
    engine.close()
    assert engine.ask("What did the cat do?", 9.0).unseen
