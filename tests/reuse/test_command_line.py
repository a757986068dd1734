"""Choosing what the encoder reuses, what is told of it, and that the stream is forgotten."""
import pytest
import torch

import app
from models.fake import FakeLLM
from models.reuse import METHODS
from streamassist.clock import RealClock
from streamassist.config import Config, EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS as MEMORY
from streamassist.types import Frame
from tests import tiny_nano
from tests.tiny_models import adapter
from tests.tiny_models import frames as noise


def engine(model, spec: str) -> Engine:
    memory = make_method("memory", "last_n", MEMORY)
    return Engine(model, memory, EngineConfig(), None, make_method("reuse", spec, METHODS))


def test_the_flag_names_a_method_with_its_settings():
    assert app.parse_flags(["--reuse", "cacher:interval=4"]).reuse == "cacher:interval=4"
    assert app.parse_flags([]).reuse == "none"


@pytest.mark.parametrize("spec", ["magic", "cacher:share=2", "tiles:colour=1"])
def test_a_wrong_one_is_told_before_the_model_is_loaded(spec, monkeypatch):
    monkeypatch.setattr("models.load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(StreamAssistError):
        app.build(Config(reuse=spec))


@pytest.mark.parametrize("spec", ["cacher", "tiles"])
def test_a_model_that_does_not_suit_is_refused_before_the_first_frame(spec):
    with pytest.raises(StreamAssistError, match="fake .*--reuse none"):
        app.compose(FakeLLM(), "", Config(reuse=spec), RealClock())


def test_each_conversation_gets_its_own():
    model, _ = tiny_nano.build()
    made = app.compose(model, "", Config(reuse="tiles", memory="last_n"), RealClock())
    one, two = (made.make_session(lambda _: None).engine for _ in range(2))
    one.observe(tiny_nano.frames(1)[0])
    assert one.reuse is not two.reuse
    assert one.reuse.bytes > 0 and two.reuse.bytes == 0


def test_the_figures_tell_what_was_done():
    frame = noise(1, (64, 64))[0]
    e = engine(adapter("smolvlm"), "cacher:interval=3")
    for i in range(4):
        e.observe(Frame(frame.image, i / 2, i))
    told = e.figures()["encoder"]
    assert told["frames"] == 4 and told["work"] == 2.5 and told["bytes"] == e.reuse.bytes > 0
    plain = engine(adapter("smolvlm"), "none")
    plain.observe(frame)
    assert plain.figures()["encoder"] == {"frames": 1, "work": 1.0, "bytes": 0}


@pytest.mark.parametrize("forget", [Engine.reset, lambda e: e.forget(0.4)])
def test_what_is_forgotten_does_not_live_on(forget):
    shown = noise(3, (64, 64))
    e, fresh = (engine(adapter("smolvlm"), "interleave:between=9") for _ in range(2))
    for frame in shown[:2]:
        e.observe(frame)
    forget(e)
    assert e.reuse.bytes == 0
    again, wanted = (x.reuse.encode(shown[2]).embeds for x in (e, fresh))
    assert torch.equal(again, wanted)


@pytest.mark.parametrize("spec", ["cacher", "gated", "interleave"])
@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_the_language_model_reads_what_was_reused(spec, kind):
    e, shown = engine(adapter(kind), spec), noise(1, (112, 112))
    for i in range(4):
        e.observe(Frame(shown[0].image, i / 2, i))
    plain = engine(adapter(kind), "none")
    for i in range(4):
        plain.observe(Frame(shown[0].image, i / 2, i))
    got, wanted = (x.ask("What do you see?", 2.0).logits for x in (e, plain))
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)
