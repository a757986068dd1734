"""Where answers stand while frames keep coming, on tiny models of every architecture."""
from itertools import combinations

import pytest
import torch

from branches import KINDS, MODES, QUESTION, Setting, frames, same, speak, video, watched
from memory.methods import TINY
from models.fake import FakeLLM
from streamassist.cache import KVCache
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS, MemoryPolicy
from streamassist.rope import rotate
from streamassist.types import Frame
from tests.streaming import apart, ends

TOLERANCE = 1e-4
# Positions of the prompt and of three frames: SmolVLM's 16 tokens stand in 10 words of text (11
# once the time has more digits), Qwen's two rows of three tokens take three positions, on either
# side a wrapper, in Qwen3-VL the time as well; nano's 16 tokens stand alone.
LENGTHS = {"smolvlm": (101, 26, 26, 27), "qwen2_5_vl": (62, 5, 5, 5), "qwen3_vl": (62, 11, 11, 11),
           "nano": (5, 16, 16, 16)}


PICTURES = frames("nano", 2)


@pytest.fixture(scope="module", params=KINDS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting.of(request.param)


def branch_positions(engine: Engine) -> list[list[int]]:
    """Per axis, of the running branch."""
    return engine.cache.used().position[:, engine.turn.first_slot :].tolist()


# ---------------------------------------------------------------- positions

@pytest.mark.parametrize("mode", MODES)
def test_positions_by_hand(setting, mode):
    prompt, first, second, third = LENGTHS[setting.kind]
    engine = watched(setting.engine(mode, gap=100), frames(setting.kind, 3)[:2])
    end = prompt + first + second
    assert engine.cache.next_position == end
    engine.ask(QUESTION, 1.0)
    speak(engine, 4)   # of which three are in the cache
    count = len(setting.llm.question_ids(QUESTION)) + 3
    begun = {"follow": end, "overlap": end, "gap": end + 100, "group": 0}[mode]
    assert branch_positions(engine) == setting.llm.num_axes * [[*range(begun, begun + count)]]
    engine.observe(frames(setting.kind, 3)[2])
    assert engine.model.fed[-1].start == end   # the video goes on where it ended
    begun += third if mode == "follow" else 0
    assert branch_positions(engine) == setting.llm.num_axes * [[*range(begun, begun + count)]]
    assert engine.cache.next_position == begun + count
    engine.close()
    assert engine.cache.next_position == end + third


def test_a_group_begins_with_the_prompt_where_eviction_has_moved_it():
    """Prompt of 7, frames of 4 positions; two frames leave, so the prompt moves up by 8."""
    engine = Engine(FakeLLM(), METHODS["last_n"](frames=2), EngineConfig(branch="group"))
    watched(engine, frames("nano", 4))
    engine.ask("What?", 2.0)
    assert branch_positions(engine) == [[*range(8, 8 + 7)]]
    engine.observe(frames("nano", 5)[4])
    assert branch_positions(engine) == [[*range(12, 12 + 7)]]


@pytest.mark.parametrize("mode", MODES)
def test_keys_are_turned_to_their_positions(setting, mode):
    shown = frames(setting.kind, 4)
    engine = watched(setting.engine(mode), shown[:2])
    engine.ask(QUESTION, 1.0)
    speak(engine, 2)
    cache = watched(engine, shown[2:]).cache
    cos, sin = cache.rope.cos_sin(cache.used().position)
    turned = rotate(cache.raw[:, :, : cache.size], cos, sin)
    assert apart(cache.rotated[:, :, : cache.size], turned) < 1e-5


# ---------------------------------------------------------------- the video is not disturbed

@pytest.mark.parametrize("mode", MODES)
def test_the_video_is_the_same_bit_for_bit_whether_or_not_it_speaks(setting, mode):
    shown = frames(setting.kind, 4)
    asked, silent = (watched(setting.engine(mode), shown[:2]) for _ in range(2))
    asked.ask(QUESTION, 1.0)
    for frame in shown[2:]:
        speak(asked, 2)
        watched(asked, [frame])
        watched(silent, [frame])
        size = silent.cache.size
        assert same(video(asked.cache, size), video(silent.cache, size))
        assert torch.equal(asked.frame_logits, silent.frame_logits)
    asked.close()
    assert (asked.cache.size, asked.cache.next_position) == (size, silent.cache.next_position)
    assert same(video(asked.cache, size), video(silent.cache, size))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("memory", TINY)
def test_no_memory_policy_sees_an_answer(memory, mode):
    """Also none that evicts while it is being given: the frames do not fit their budgets."""
    settings, config = TINY[memory].settings, EngineConfig(branch=mode)
    asked, silent = (Engine(FakeLLM(), METHODS[memory](**settings), config) for _ in range(2))
    for i, frame in enumerate(frames("nano", 16)):
        for engine in (asked, silent):
            engine.observe(frame)
        if i == 8:
            asked.ask("What is there now?", frame.pts)
        if 8 <= i < 14:
            asked.step()
        if i == 14:
            asked.close()
    size = silent.cache.size
    assert (asked.cache.size, asked.cache.next_position) == (size, silent.cache.next_position)
    for ours, theirs in zip(video(asked.cache, size), video(silent.cache, size), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


class Blinking(MemoryPolicy):
    """Drops every second frame as soon as it was read, and leaves its positions unused."""

    def after_prefill(self, cache: KVCache) -> None:
        used = cache.used()
        cache.keep((used.frame % 2 == 0)[cache.num_pinned :])


@pytest.mark.parametrize("mode", MODES)
def test_the_video_goes_on_at_its_undropped_end(mode):
    """Prompt of 7, four frames of 4 positions: the video ends at 23, though its last slot is gone,
    while an answer is given and after it, and is a fifth frame's start."""
    asked = Engine(FakeLLM(), Blinking(), EngineConfig(branch=mode))
    watched(asked, frames("nano", 2))
    asked.ask("What?", 1.0)
    watched(asked, frames("nano", 4)[2:])
    with asked.branch():
        assert asked.cache.next_position == 23
    asked.close()
    assert asked.cache.next_position == 23
    watched(asked, frames("nano", 5)[4:])
    assert asked.cache.used().position[0, -4:].tolist() == [23, 24, 25, 26]


# ---------------------------------------------------------------- what is said

@pytest.mark.parametrize("mode", ["follow", "overlap"])
def test_without_frames_in_between_an_answer_is_the_plain_models(setting, mode):
    shown = frames(setting.kind, 3)
    engine = watched(setting.engine(mode), shown)
    engine.ask(QUESTION, 1.0)
    speak(engine, 5)
    recorded = engine.model
    starts = [chunk.start for chunk in recorded.fed]
    spans = [chunk.span for chunk in recorded.fed]
    assert starts == [sum(spans[:i]) for i in range(len(spans))]   # nothing is out of place
    whole = setting.plain(recorded.fed, shown)[ends(recorded.fed)]
    assert apart(torch.stack(recorded.logits), whole) < TOLERANCE
    assert engine.turn.ids == whole[-5:].argmax(-1).tolist()


@pytest.mark.parametrize("mode", ["overlap", "gap", "group"])
def test_what_changed_while_it_spoke_reaches_the_next_word_exactly(setting, mode):
    """Frames come after two words; a stock model with the same positions and mask says the same."""
    shown = frames(setting.kind, 4)
    engine, deaf = (watched(setting.engine(mode), shown[:2]) for _ in range(2))
    for one in (engine, deaf):
        one.ask(QUESTION, 1.0)
        speak(one, 2)
    watched(engine, shown[2:])
    speak(engine, 3)
    speak(deaf, 1)
    recorded = engine.model
    whole = setting.plain(recorded.fed, shown)[ends(recorded.fed)]
    assert apart(torch.stack(recorded.logits), whole) < TOLERANCE
    assert apart(recorded.logits[-3], deaf.model.logits[-1]) > 100 * TOLERANCE


def test_where_an_answer_stands_changes_its_next_word(setting):
    shown = frames(setting.kind, 4)
    said = []
    for mode in MODES:
        engine = watched(setting.engine(mode), shown[:2])
        engine.ask(QUESTION, 1.0)
        speak(engine, 2)
        watched(engine, shown[2:])
        speak(engine, 1)
        said.append(engine.model.logits[-1])
    assert min(apart(a, b) for a, b in combinations(said, 2)) > 10 * TOLERANCE


# ---------------------------------------------------------------- gaps that do not fit

def test_a_gap_that_does_not_fit_is_refused(setting):
    with pytest.raises(StreamAssistError, match="does not fit into the 4096.*choose at most 2048"):
        setting.engine("gap", gap=2049)
    setting.engine("gap", gap=2048)
    setting.engine("overlap", gap=2049)   # no gap is asked for


def test_the_video_leaves_room_for_the_gap():
    """Of 4096 positions 1024 are for prompt, question and answer, and 2000 for the gap."""
    model = FakeLLM(max_context=4096)
    engine = Engine(model, METHODS["full"](), EngineConfig(branch="gap", gap=2000))
    blank = frames("nano", 1)[0].image
    for i in range(280):
        engine.observe(Frame(blank, i / 2, i))
    assert len(engine.cache) == 4096 - 1024 - 2000
    engine.ask("What?", 140.0)
    assert engine.cache.extent <= 4096


def test_a_question_too_long_for_the_gap_is_refused_and_leaves_no_trace():
    """Video up to 15, a gap of 2000, an answer of at most 64: a question of 2017 tokens fits."""
    config = EngineConfig(branch="gap", gap=2000)
    engine = watched(Engine(FakeLLM(max_context=4096), METHODS["full"](), config), PICTURES[:2])
    with pytest.raises(StreamAssistError, match="4097, and.* reads 4096; choose a smaller gap"):
        engine.ask("x" * 2016, 1.0)
    assert (engine.cache.size, engine.cache.next_position) == (15, 15)
    assert engine.turn is None
    assert engine.ask("x" * 2015, 1.0).cache.next_position == 4096 - 64


# ---------------------------------------------------------------- probes

@pytest.mark.parametrize("mode", MODES)
def test_a_branch_of_the_callers_own_leaves_an_answer_as_it_was(setting, mode):
    one, other = (watched(setting.engine(mode), frames(setting.kind, 2)) for _ in range(2))
    for engine in (one, other):
        engine.ask(QUESTION, 1.0)
        speak(engine, 2)
    end = sum(LENGTHS[setting.kind][:3])
    with one.branch():
        assert (one.cache.next_position, one.cache.size) == (end, other.turn.first_slot)
        ids = setting.llm.encode_text("yes, no")
        one.model.forward(setting.llm.text_chunk(ids, end, 3, 1.0), one.cache)
    one.probe("a red box", 1.0)
    assert one.cache.next_position == other.cache.next_position
    assert same(video(one.cache, one.cache.size), video(other.cache, other.cache.size))


def test_a_branch_of_the_callers_own_goes_even_after_an_error(setting):
    engine = watched(setting.engine("group"), frames(setting.kind, 1))
    size, position = engine.cache.size, engine.cache.next_position
    with pytest.raises(ValueError), engine.branch():
        ids = setting.llm.encode_text("yes")
        engine.model.forward(setting.llm.text_chunk(ids, position, 3, 0.0), engine.cache)
        raise ValueError
    assert (engine.cache.size, engine.cache.next_position) == (size, position)


def test_frame_logits_are_the_newest_frames(setting):
    engine = setting.engine()
    assert engine.frame_logits is None
    shown = frames(setting.kind, 2)
    watched(engine, shown)
    whole = setting.plain(engine.model.fed, shown)
    assert apart(engine.frame_logits, whole[-1]) < TOLERANCE
    engine.reset()
    assert engine.frame_logits is None


def test_there_are_no_frame_logits_where_queries_were_asked_for_or_nothing_was_read():
    asks = next(name for name in sorted(METHODS) if METHODS[name].frame_queries)
    engine = Engine(FakeLLM(), METHODS[asks](), EngineConfig())
    watched(engine, frames("nano", 1))
    assert engine.frame_logits is None
    engine = watched(Engine(FakeLLM(), METHODS["full"](), EngineConfig()), frames("nano", 1))
    engine.reducer.wants = lambda image, pts: False
    watched(engine, frames("nano", 1))
    assert engine.frame_logits is None
