"""Notes written by the engine between answers, on the clip alone or beside the video."""
import pytest
import torch
from transformers import DynamicCache

from branches import KINDS, MODES, QUESTION, Setting, frames, same, speak, video, watched
from models.fake import FakeLLM
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS as MEMORY
from streamassist.thinking import METHODS, Thinking
from streamassist.types import Frame, Role
from tests.streaming import apart

BOTH = ("streaming_notes", "segment_notes")
PICTURES = frames("nano", 8)
SCRIPT = {"note in one": "A dog comes.", "what did": "A dog."}


@pytest.fixture(scope="module", params=KINDS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting.of(request.param)


def made_up(thinking: str | Thinking, memory: str = "full", **settings) -> Engine:
    """An engine on the scripted model, which was taught to read earlier turns."""
    model = FakeLLM(answers=SCRIPT, history_turns=2)
    notes = METHODS[thinking](**settings) if isinstance(thinking, str) else thinking
    return Engine(model, MEMORY[memory](), EngineConfig(), thinking=notes)


def watch(engine: Engine, start: float, end: float) -> None:
    """Two frames a second, numbered so."""
    for i in range(round(2 * start), round(2 * end)):
        engine.observe(Frame(PICTURES[i % len(PICTURES)].image, i / 2, i))
        engine.note_due(i / 2)


def write(engine: Engine, t: float) -> None:
    engine.note(t)
    while not engine.turn.done:
        engine.step()


def taken(engine: Engine, t: float, said: str | None = None):
    """A note, word by word to its end; `said` is put into the model's mouth."""
    if said is not None:
        engine.model.answers = {**SCRIPT, "note in one": said}
    write(engine, t)
    return engine.close()


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


# ---------------------------------------------------------------- segment notes

@pytest.mark.parametrize("mode", MODES)
def test_the_writer_never_touches_the_video(setting, mode):
    """A note, with frames in between, then an answer: the video is that of a silent stream."""
    shown = frames(setting.kind, 6)
    notes = METHODS["segment_notes"](every_s=0.5, longest=4)
    writer = watched(setting.engine(mode, thinking=notes), shown[:2])
    silent = watched(setting.engine(mode), shown[:2])
    writer.note_due(0.0)
    for begin, frame in zip((writer.note, writer.note, lambda t: writer.ask(QUESTION, t)),
                            shown[2:], strict=False):
        begin(frame.pts)
        speak(writer, 2)
        watched(writer, [frame])
        watched(silent, [frame])
        size = silent.cache.size
        assert same(video(writer.cache, size), video(silent.cache, size))
        speak(writer, 2)
        end(writer)
        assert (writer.cache.size, writer.cache.next_position) == (
            size, silent.cache.next_position
        )
    assert same(video(writer.cache, size), video(silent.cache, size))
    assert len(writer.thinking.notes) == 2


def end(engine: Engine) -> None:
    """A random model may say nothing, or the same again: its words here have a text of ours."""
    engine.turn.text, engine.turn.done = f"Said at {engine.turn.pts}.", True
    engine.close()


def noted_twice(setting: Setting, mode: str = "group") -> Engine:
    """Two notes of four words on four frames."""
    notes = METHODS["segment_notes"](every_s=0.5, longest=4)
    engine = setting.engine(mode, thinking=notes)
    engine.note_due(0.0)
    for i, frame in enumerate(frames(setting.kind, 4)):
        engine.observe(frame)
        if i % 2:
            engine.note(frame.pts)
            speak(engine, 4)
            end(engine)
    return engine


def test_notes_are_at_their_own_positions_from_0_and_the_question_behind_them(setting):
    engine = noted_twice(setting)
    tails = [len(setting.llm.encode_text(f" (0:0{s})\n")) for s in (0, 1)]
    count = 4 + tails[0] + 4 + tails[1]
    turn = engine.ask("What did you see before?", 2.0)
    asked = len(setting.llm.question_ids("What did you see before?"))
    position = engine.cache.used().position[:, turn.first_slot :]
    assert position.tolist() == setting.llm.num_axes * [[*range(count + asked)]]
    assert turn.opening == count + asked


def test_notes_are_the_keys_and_values_of_the_words_as_they_were_written(setting):
    notes = METHODS["segment_notes"](every_s=0.5, longest=4)
    engine = setting.engine("overlap", thinking=notes)
    engine.note_due(0.0)
    watched(engine, frames(setting.kind, 2))
    turn = engine.note(0.5)
    speak(engine, 4)
    ids = list(turn.ids)
    first = turn.first_slot + turn.opening
    raw = engine.cache.raw[:, :, first : first + 3].clone()   # the fourth is not read yet
    value = engine.cache.value[:, :, first : first + 3].clone()
    end(engine)
    (words,) = engine.thinking._blocks
    assert torch.equal(words.raw[:, :, :3], raw) and torch.equal(words.value[:, :, :3], value)
    tail = engine.model.fed[-1].ids.tolist()
    assert tail == [ids[3], *setting.llm.encode_text(" (0:00)\n")]
    assert len(words.slots) == 3 + len(tail)


def test_an_answer_attends_to_video_and_notes_as_a_stock_model_would():
    """The stock model over a plain concatenation of the two caches, layer by layer."""
    setting = Setting.of("nano")
    engine = noted_twice(setting)
    source = [x[:, :, : engine.cache.size].clone()
              for x in (engine.cache.rotated, engine.cache.value)]
    target = engine.thinking.target("What did you see?")
    cos, sin = engine.cache.rope.cos_sin(target.slots.position[:, 0])
    left, right = target.raw.chunk(2, -1)
    turned = target.raw * cos + torch.cat((-right, left), -1) * sin
    past = DynamicCache(config=setting.stock.config)
    for layer in range(len(turned)):
        key = torch.cat((source[0][layer], turned[layer]), 1)
        past.update(key[None], torch.cat((source[1][layer], target.value[layer]), 1)[None], layer)
    ids = torch.tensor([setting.llm.question_ids("What did you see?")])
    size, count = past.get_seq_length(), ids.shape[1]
    mask = torch.ones(count, size + count, dtype=torch.bool).tril(size)
    with torch.no_grad():
        plain = setting.stock(
            input_ids=ids, past_key_values=past, attention_mask=mask[None, None],
            position_ids=target.length + torch.arange(count)[None],
        ).logits[0, -1]
    turn = engine.ask("What did you see?", 2.0)
    assert apart(turn.logits, plain) < 1e-4
    engine.close()
    engine.thinking.reset()
    assert apart(engine.ask("What did you see?", 2.0).logits, plain) > 0.01


def test_the_oldest_segment_notes_leave_and_the_rest_counts_from_0_again():
    """Notes of 12 bytes and " (0:08)\\n" of 8 or " (0:16)\\n": 20 tokens each."""
    engine = made_up("segment_notes", budget=45)
    for t, said in ((8, "A dog comes."), (16, "A cat comes."), (24, "A man comes.")):
        watch(engine, t - 8, t)
        taken(engine, float(t), said)
    assert [note.text for note in engine.thinking.notes] == ["A cat comes.", "A man comes."]
    target = engine.thinking.target("What did you see?")
    ids = target.value[0, 0, :, 1].int().tolist()
    assert engine.model.detokenize(ids) == "A cat comes. (0:16)\nA man comes. (0:24)\n"
    assert target.slots.position.flatten().tolist() == [*range(40)]
    assert (target.start, target.length) == (0, 40)
    assert engine.thinking.bytes == 40 * 2 * 2 * 8 * 4   # raw and value, 2 layers of 8 floats


def test_segment_notes_follow_onto_a_cache_made_for_the_question():
    engine = made_up("segment_notes", memory="goldfish", every_s=2.0)
    engine.memory.clip_s, engine.memory.budget = 1.0, 140
    for t in (2, 4, 6, 8, 10, 12, 14, 16):
        watch(engine, t - 2, t)
        taken(engine, float(t), f"A dog comes {t}.")
    turn = engine.ask("What did you see?", 16.0)
    assert turn.cache is not engine.cache
    used = turn.cache.used()
    assert (used.role[turn.first_slot :] == Role.BRANCH).all()
    assert turn.opening > 8 * 20
    engine.close()
    assert len(engine.cache) == len(engine.cache.frames()) * 4


def test_a_model_not_taught_to_take_notes_writes_each_without_the_others():
    engine = made_up("segment_notes")
    engine.model.history_turns, engine.model.answers = 0, {"describe": "A dog comes."}
    watch(engine, 0, 9)
    taken(engine, 8.0)
    turn = engine.note(16.0)
    assert turn.opening == len(engine.model.question_ids("Describe the picture."))
    engine.close()
    for question, read in (("What is it?", 0), ("What was it?", 20)):
        turn = engine.ask(question, 9.0)
        assert turn.opening == read + len(engine.model.question_ids(question))
        engine.close()
