"""Notes as keys and values beside the video: on tiny models, and by hand on the scripted one."""
import pytest
import torch
from transformers import DynamicCache

from branches import KINDS, MODES, QUESTION, Setting, frames, same, speak, video, watched
from streamassist.engine import Engine
from streamassist.thinking import METHODS
from streamassist.types import Role
from tests.streaming import apart
from thinking.writer import made_up, taken, watch

PAST = "Did a dog appear earlier?"


@pytest.fixture(scope="module", params=KINDS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting.of(request.param)


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


@pytest.mark.parametrize("mode", MODES)
def test_notes_have_positions_of_their_own_and_the_question_stands_behind_them(setting, mode):
    """Counted from where a branch begins: from 0 in a group of their own."""
    engine = noted_twice(setting, mode)
    end = engine.cache.next_position
    begun = {"follow": end, "overlap": end, "gap": end + 256, "group": 0}[mode]
    tails = [len(setting.llm.encode_text(f" (0:0{s})\n")) for s in (0, 1)]
    count = 4 + tails[0] + 4 + tails[1]
    turn = engine.ask(PAST, 2.0)
    asked = len(setting.llm.question_ids(PAST))
    position = engine.cache.used().position[:, turn.first_slot :]
    expected = [*range(begun, begun + count + asked)]
    assert position.tolist() == setting.llm.num_axes * [expected]
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
    target = engine.thinking.target(PAST)
    cos, sin = engine.cache.rope.cos_sin(target.slots.position[:, 0])
    left, right = target.raw.chunk(2, -1)
    turned = target.raw * cos + torch.cat((-right, left), -1) * sin
    past = DynamicCache(config=setting.stock.config)
    for layer in range(len(turned)):
        key = torch.cat((source[0][layer], turned[layer]), 1)
        past.update(key[None], torch.cat((source[1][layer], target.value[layer]), 1)[None], layer)
    ids = torch.tensor([setting.llm.question_ids(PAST)])
    size, count = past.get_seq_length(), ids.shape[1]
    mask = torch.ones(count, size + count, dtype=torch.bool).tril(size)
    with torch.no_grad():
        plain = setting.stock(
            input_ids=ids, past_key_values=past, attention_mask=mask[None, None],
            position_ids=target.length + torch.arange(count)[None],
        ).logits[0, -1]
    turn = engine.ask(PAST, 2.0)
    assert apart(turn.logits, plain) < 1e-4
    engine.close()
    engine.thinking.reset()
    assert apart(engine.ask(PAST, 2.0).logits, plain) > 0.01


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
    for question, read in (("What is it?", 0), (PAST, 20)):
        turn = engine.ask(question, 9.0)
        assert turn.opening == read + len(engine.model.question_ids(question))
        engine.close()
