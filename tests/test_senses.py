"""The costly signals, against the same worked out with plain passes of a small real model."""
import math

import pytest
import torch

from models.fake import FakeLLM
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory.last_n import LastN
from streamassist.response.scenes import graph_of, likeness, stem
from streamassist.senses import NO_REPLY, Senses
from streamassist.types import FrameSignals, Role
from tests import tiny_models, tiny_nano

KINDS = (*tiny_models.KINDS, "nano")


def engine(kind: str, frames: int = 3, count: int = 4) -> tuple[Engine, FrameSignals]:
    nano = kind == "nano"
    model = tiny_nano.build()[0] if nano else tiny_models.adapter(kind)
    made = Engine(model, LastN(frames), EngineConfig())
    shown = (tiny_nano if nano else tiny_models).frames(count)
    for frame in shown:
        made.observe(frame)
    return made, FrameSignals(t=shown[-1].pts, frame=shown[-1].index)


def branch_logits(made: Engine, ids: list[int]) -> torch.Tensor:
    """(S, V) after each token of a branch, one by one; the cache is left as it was."""
    size, rows = made.cache.size, []
    for token in ids:
        chunk = made.model.text_chunk([token], made.cache.next_position, Role.BRANCH, 0.0)
        rows.append(made.model.forward(chunk, made.cache))
    made.cache.truncate(size)
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_no_reply_is_the_chance_of_its_first_words(kind):
    made, signals = engine(kind)
    model = made.model
    row = branch_logits(made, model.question_ids(NO_REPLY))[-1].softmax(-1)
    first = {model.encode_text("NO")[0], model.encode_text(" NO")[0]}
    Senses().measure(made, signals, {"p_no_reply"})
    assert signals.p_no_reply == pytest.approx(float(row[sorted(first)].sum()), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_relevance_is_the_mean_chance_of_the_words(kind):
    made, signals = engine(kind, count=1)
    model, condition = made.model, "a dog runs"
    words = model.encode_text(condition + ".")
    asked = model.question_ids(model.describe_prompt)
    rows = branch_logits(made, [*asked, *words])[len(asked) - 1 : -1].log_softmax(-1)
    nll = [-float(row[word]) for row, word in zip(rows, words, strict=True)]
    Senses().ask_goals(made, signals, {5: frozenset({"relevance"})}, {5: condition})
    assert signals.relevance[5] == pytest.approx(math.exp(-sum(nll) / len(nll)), abs=1e-5)


def test_the_hypothesis_is_held_against_each_frame_and_measured_anew_when_its_frame_is_gone():
    made, signals = engine("nano", frames=2)
    senses, shown = Senses(), tiny_nano.frames(12)
    senses.spoken(made, "a dog runs")
    ratios = []
    for frame in shown[4:]:
        made.observe(frame)
        signals = FrameSignals(t=frame.pts, frame=frame.index)
        senses.measure(made, signals, {"ppl_ratio"})
        ratios.append(signals.ppl_ratio)
    # Two frames are held: the third one after a baseline has lost the frame it was made for.
    assert [i for i, r in enumerate(ratios) if r == 1.0] == [0, 2, 4, 6]
    assert all(r > 0 for r in ratios) and len(set(ratios)) > 3


def test_goals_of_a_kind_are_asked_together_and_alike():
    made, signals = engine("nano")
    conditions = {1: "a dog appears", 2: "it rains", 3: "two men sit"}
    both = frozenset({"p_yes", "p_now", "relevance"})
    Senses().ask_goals(made, signals, dict.fromkeys(conditions, both), conditions)
    each = {goal: made.probe(text, 0.0) for goal, text in conditions.items()}
    assert signals.p_yes == pytest.approx(each, abs=1e-5)
    assert signals.p_yes.keys() == signals.relevance.keys() and not signals.p_graph
    newest = Engine(made.model, LastN(1), EngineConfig())
    newest.observe(tiny_nano.frames(4)[-1])
    alone = {goal: newest.probe(text, 0.0) for goal, text in conditions.items()}
    assert signals.p_now == pytest.approx(alone, abs=1e-5)
    assert alone != pytest.approx(each, abs=1e-3)


def test_like_scenes_are_shown_beside_a_condition():
    made = Engine(FakeLLM(), LastN(4), EngineConfig())
    frame = tiny_nano.frames(1)[0]
    made.observe(frame)
    senses, asked = Senses(), []
    made.model.probe = lambda text, cache, pts: asked.append(text) or 0.5
    wanted = {1: frozenset({"p_graph"})}
    for t, condition in ((0.0, "there is a picture"), (1.0, "a submarine dives")):
        signals = FrameSignals(t=t, frame=0)
        senses.ask_goals(made, signals, wanted, {1: condition})
        assert signals.p_graph == {1: 0.5}
    assert asked[0].startswith("there is a picture (seen: I see a") and asked[1] == \
        "a submarine dives"


def test_graphs_by_hand():
    assert graph_of("A dog runs on the grass.") == {
        ("dog",), ("run",), ("grass",), ("dog", "-", "run"), ("run", "on", "grass"),
    }
    assert likeness(graph_of("a dog on grass"), graph_of("Two dogs play on the grass")) == 2 / 3
    assert likeness(frozenset(), graph_of("a dog")) == 0.0


@pytest.mark.parametrize("word, root", [
    ("dogs", "dog"), ("running", "run"), ("played", "play"), ("puppies", "puppy"), ("bus", "bus"),
    ("grass", "grass"),
])
def test_stems(word, root):
    assert stem(word) == root
