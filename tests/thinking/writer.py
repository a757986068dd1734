"""Engines that take notes: on the scripted model, which was taught to read earlier turns."""
from branches import frames
from models.fake import FakeLLM
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS as MEMORY
from streamassist.thinking import METHODS, Noted, Thinking
from streamassist.types import Frame

PICTURES = frames("nano", 8)
SCRIPT = {"note in one": "A dog comes.", "what did": "A dog."}


def made_up(thinking: str | Thinking, memory: str = "full", **settings) -> Engine:
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


def taken(engine: Engine, t: float, said: str | None = None) -> Noted | None:
    """A note, word by word to its end; `said` is put into the model's mouth."""
    if said is not None:
        engine.model.answers = {**SCRIPT, "note in one": said}
    write(engine, t)
    return engine.close()
