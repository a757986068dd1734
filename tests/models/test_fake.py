"""The scripted model: it sees brightness and colour, reads its memory from the cache, and fails."""
import numpy as np
import pytest
import torch

from models.fake import FakeLLM
from streamassist.types import Frame, Role

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (250, 90, 90)


def frame(colour, index: int = 0) -> Frame:
    return Frame(np.full((8, 12, 3), colour, np.uint8), float(index), index)


def watching(model: FakeLLM, *colours):
    cache = model.new_cache()
    model.forward(model.text_chunk(model.prompt_ids(), 0, Role.PROMPT, 0.0), cache)
    cache.pin()
    for i, colour in enumerate(colours):
        (tokens,) = model.encode([frame(colour, i)])
        model.forward(model.frame_chunk(tokens, cache.next_position), cache)
    return cache


def say(model: FakeLLM, cache, ids) -> torch.Tensor:
    return model.forward(model.text_chunk(ids, cache.next_position, Role.BRANCH, 0.0), cache)


def answer(model: FakeLLM, cache, question: str = "What is it?") -> str:
    start, said = cache.size, []
    logits = say(model, cache, model.question_ids(question))
    while (token := int(logits.argmax())) not in model.stop_ids:
        said.append(token)
        logits = say(model, cache, [token])
    cache.lift(start)
    return model.detokenize(said)


def p_yes(model: FakeLLM, cache, statement: str) -> float:
    branch, yes, no = model.yes_no_ids(statement)
    start = cache.size
    chances = say(model, cache, branch).softmax(-1)
    cache.lift(start)
    return float(chances[yes].sum() / chances[yes + no].sum())


def test_it_tells_the_newest_picture():
    model = FakeLLM()
    assert answer(model, watching(model)) == "I see nothing yet."
    assert answer(model, watching(model, BLACK)) == "I see a dark grey picture."
    assert answer(model, watching(model, BLACK, RED)) == "I see a bright red picture."


def test_an_answer_may_depend_on_the_question():
    model = FakeLLM(answers={"name": "I am a script, naïvely."})
    cache = watching(model, WHITE)
    assert answer(model, cache, "What is your NAME?") == "I am a script, naïvely."
    assert answer(model, cache, "What now?") == "I see a bright grey picture."


def test_memory_is_what_the_cache_holds():
    model = FakeLLM()
    cache = watching(model, RED, BLACK)
    cache.keep(cache.used().frame[cache.num_pinned :] == 0)
    assert answer(model, cache) == "I see a bright red picture."


@pytest.mark.parametrize(
    "colour, statement, true",
    [
        (WHITE, "a bright picture", True),
        (BLACK, "a bright picture", False),
        (BLACK, "the room is dark", True),
        (RED, "something red", True),
        (RED, "something blue", False),
        (WHITE, "a bright red thing", False),
        (WHITE, "a giraffe", False),
    ],
)
def test_probes_follow_brightness_and_colour(colour, statement, true):
    model = FakeLLM()
    chance = p_yes(model, watching(model, colour), statement)
    assert chance > 0.9 if true else chance < 0.1


def test_bright_begins_at_128():
    model = FakeLLM()
    chances = [p_yes(model, watching(model, (v, v, v)), "bright") for v in (120, 128, 136)]
    assert chances[0] < 0.5 < chances[2] and chances[1] == pytest.approx(0.5, abs=0.01)


def test_same_script_same_result():
    caches = [watching(FakeLLM(), RED, BLACK, WHITE) for _ in range(2)]
    assert torch.equal(caches[0].rotated, caches[1].rotated)
    assert torch.equal(caches[0].value, caches[1].value)


def test_it_fails_when_told_and_the_cache_stays_whole():
    model = FakeLLM(fail_at={3})
    cache = watching(model, BLACK)
    size = cache.size
    with pytest.raises(RuntimeError, match="forward 3"):
        say(model, cache, model.question_ids("What?"))
    assert cache.size == size
    assert answer(model, cache) == "I see a dark grey picture."
    with pytest.raises(RuntimeError, match="on the question"):
        answer(model, cache, "Now please fail.")


def test_dropped_tokens_keep_their_places():
    model = FakeLLM()
    (tokens,) = model.encode([frame(RED)])
    tokens.places = torch.tensor([1, 3])
    tokens.embeds = tokens.embeds[tokens.places]
    chunk = model.frame_chunk(tokens, 10)
    assert chunk.positions.tolist() == [[11, 13]] and chunk.span == 4
