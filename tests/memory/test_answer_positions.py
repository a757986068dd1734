"""Where memories that look things up place what an answer reads: their setting `positions`."""
import pytest
import torch

from made_up import LAYERS, MadeUpModel, check_rotation, pinned_cache, watch
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.positions import POSITIONS

each = pytest.mark.parametrize("name", POSITIONS)
axes = pytest.mark.parametrize("num_axes", [1, 3])
QUESTION = "What did you see?"
LOOK_UP = ("rekv", "inf_llm", "lserve", "resv", "stream_kv")


def answer_of(name: str, positions: str, num_axes: int = 1, context: int = 1 << 20):
    """(policy, the stream's cache, an answer's cache) after 60 frames at 2 fps."""
    policy = METHODS[name](budget=40, stored=80, positions=positions)
    model = MadeUpModel(num_axes)
    model.max_context = context
    policy.attach(model)
    cache = pinned_cache(num_axes)
    for frame in range(60):
        watch(policy, cache, frame)
    return policy, cache, policy.before_answer(cache, QUESTION)


@each
@axes
@pytest.mark.parametrize("memory", LOOK_UP)
def test_an_answer_stands_as_its_memory_is_told(memory, name, num_axes):
    policy, cache, answer = answer_of(memory, name, num_axes)
    check_rotation(answer)
    slots, newest = answer.in_use(), len(cache)
    window = cache.in_use().position[..., cache.num_pinned :]
    assert answer.next_position == cache.next_position
    assert torch.equal(slots.position[..., -newest:], window.expand(-1, LAYERS, -1))
    position, span = slots.position[0, :, answer.num_pinned :], 4 if num_axes == 1 else 2
    if name in ("original", "true_time"):   # at a steady rate they are the same
        assert torch.equal((position - answer.num_pinned) // span, slots.frame[:, 3:])
    elif name == "contiguous":
        behind = slots.base[:, 1:] == (slots.base + slots.span)[:, :-1]
        assert (behind | (slots.group.diff() == 0)).all()
    else:
        point = num_axes == 1 or memory == "inf_llm"
        place = slots.base[:, -newest, None] - (1 if point else span)
        assert (slots.base[:, answer.num_pinned : -newest] == place).all()
    assert (slots.position[0, :, answer.num_pinned - 1] <= position[:, 0]).all()


@pytest.mark.parametrize("name", ["original", "true_time"])
def test_an_answer_stays_within_what_the_model_was_trained_for(name):
    context = 1024 + 100
    wide, answer = answer_of("rekv", name)[2], answer_of("rekv", name, context=context)[2]
    assert wide.extent > 100 >= answer.extent
    assert wide.in_use().frame.tolist() == answer.in_use().frame.tolist()
    check_rotation(answer)


def test_unknown_positions_are_told():
    with pytest.raises(StreamAssistError, match="true_time"):
        METHODS["rekv"](positions="nonsense")
    assert METHODS["inf_llm"]().positions == "single_angle"
    assert METHODS["rekv"]().positions == "contiguous"
