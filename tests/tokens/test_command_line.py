"""Choosing a token reducer, and what is told of it."""
import pytest

import app
from streamassist.config import Config, EngineConfig, make_method
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS as MEMORY
from streamassist.tokens import METHODS
from tests import tiny_nano


def test_the_flag_names_a_reducer_with_its_settings():
    assert app.parse_flags(["--tokens", "stc:share=0.5"]).tokens == "stc:share=0.5"
    assert app.parse_flags([]).tokens == "none"


@pytest.mark.parametrize("spec", ["magic", "stc:share=2", "tom:colour=1"])
def test_a_wrong_one_is_told_before_the_model_is_loaded(spec, monkeypatch):
    monkeypatch.setattr("models.load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(StreamAssistError):
        app.build(Config(tokens=spec))


def test_what_takes_slots_from_frames_needs_a_memory_that_bears_it():
    app.check_tokens(Config(tokens="key_norm", memory="recall:recent=4"))
    with pytest.raises(StreamAssistError, match="use --memory full, last_n, .* or recall"):
        app.check_tokens(Config(tokens="slow_fast", memory="hermes"))
    app.check_tokens(Config(tokens="temporal_drop", memory="hermes"))


def test_the_counters_tell_what_was_read_and_the_signals_what_was_new():
    model, _ = tiny_nano.build()
    memory = make_method("memory", "last_n", MEMORY)
    engine = Engine(model, memory, EngineConfig(), METHODS["temporal_drop"]())
    frame = tiny_nano.frames(1)[0]
    news = [engine.observe(type(frame)(frame.image, i / 2, i)).news for i in range(3)]
    assert news == [1.0, 0.0, 0.0]
    assert engine.figures()["tokens"] == {"seen": 48, "read": 18}
