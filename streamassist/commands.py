"""What a user can ask of a conversation, beside looking on: each command in a few lines."""
from __future__ import annotations

from typing import TYPE_CHECKING

from streamassist.errors import StreamAssistError
from streamassist.rules import is_rule
from streamassist.types import (
    AddRule,
    Alert,
    Command,
    Configure,
    EditRule,
    Forget,
    Forgotten,
    Frame,
    Interrupt,
    NewStream,
    Notice,
    Query,
    Rate,
    Remark,
    RemoveRule,
    Rules,
    TryRule,
    UserSpeaking,
)

if TYPE_CHECKING:
    from streamassist.session import Session

MAX_QUESTION = 2000   # characters


def carry_out(session: Session, command: Command, t: float) -> None:
    """Raises StreamAssistError when it cannot be accepted."""
    match command:
        case Query(text=text, pts=pts):
            ask(session, text, t if pts is None else pts)
        case Interrupt():
            session.speaker.stop(session.engine, session.dropped)
            session.engine.stop_note()
        case AddRule():
            session.desk.add(command, t)
        case EditRule():
            session.desk.edit(command, t)
        case RemoveRule(rule_id=rule_id):
            session.desk.remove(rule_id, t)
        case TryRule():
            session.desk.try_on_past(command, t)
        case Rate(t=at, good=good):
            rate(session, at, good, t)
        case UserSpeaking(speaking=speaking):
            session.timing.user_speaking(speaking, t)
        case Configure():
            configure(session, command)
        case Forget():
            forget(session, command)
        case NewStream():
            session.new_stream()


def ask(session: Session, text: str, t: float) -> None:
    text = text.strip()
    if not text:
        raise StreamAssistError("The question is empty; type a few words.")
    if len(text) > MAX_QUESTION:
        raise StreamAssistError(f"The question is longer than {MAX_QUESTION} characters.")
    if is_rule(text):
        session.desk.add(AddRule(text, t), t)
        return
    session.speaker.accept(text, t, session.engine)
    if not session.frames_held:
        told = "There is no picture yet; I answer when the first one comes."
        session.emit(Notice, t, text=told)


def configure(session: Session, command: Configure) -> None:
    if command.threshold is not None:
        session.timing.set_threshold(command.threshold)
    if command.remarks_per_minute is not None:
        session.timing.set_budget(command.remarks_per_minute)
    if command.commentary is not None:
        session.commentary = command.commentary
        if not session.commentary:
            session.speaker.drop_remark(session.engine)


def rate(session: Session, at: float, good: bool, t: float) -> None:
    """A thumb for the remark or alert that was made at `at`."""
    made = (e for e in reversed(session.transcript) if isinstance(e, Remark | Alert))
    told = next((e for e in made if e.t == at), None)
    if isinstance(told, Remark):
        session.emit(Notice, t, text=session.timing.rate(good))
    else:
        session.desk.rate(told, good, t)


# ---------------------------------------------------------------- forgetting

def forget(session: Session, command: Forget) -> None:
    if command.minutes is not None and not command.minutes > 0:
        raise StreamAssistError("Say how many minutes to forget: a number above 0.")
    since = None if command.minutes is None else session.t - 60 * command.minutes
    if since is None or since <= 0:
        forget_all(session)
    else:
        forget_since(session, since)
    if command.rules:
        session.desk.clear(session.t)
    session.emit(Forgotten, session.t, since=since)
    session.emit(Rules, session.t, rules=session.rules.view())
    session.tell_faults(session.t)   # what could not be erased


def forget_all(session: Session) -> None:
    session.new_stream()
    session.speaker.clear()
    session.archive.clear()
    session.transcript.clear()


def forget_since(session: Session, since: float) -> None:
    """The stream goes on; what was seen and said before `since` stays."""
    session.speaker.stop(session.engine, session.dropped)
    session.speaker.clear()
    session.engine.forget(since)
    session.desk.stop_trying()
    session.archive.forget(since)
    session.timing.forget(since)
    for kept in (session.recent, session.transcript):
        times = [(x.pts if isinstance(x, Frame) else x.t, x) for x in kept]
        kept.clear()
        kept.extend(x for t, x in times if t < since)
