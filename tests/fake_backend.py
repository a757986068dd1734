"""A scripted assistant for the page: the real protocol, a real thread, no model."""
import io
import threading
import time
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw

from streamassist.errors import StreamAssistError
from streamassist.types import (
    AddRule,
    Alert,
    Answer,
    Command,
    Configure,
    EditRule,
    Event,
    Forget,
    Forgotten,
    Interrupt,
    Note,
    Notice,
    Query,
    Rate,
    Remark,
    RemoveRule,
    ReplyStarted,
    Rules,
    RuleTried,
    Stats,
    TextDelta,
    TryRule,
    UserSpeaking,
    Why,
)

ANSWER = "A red ball rolls over green grass towards the left."
TOLD = (Answer, Remark, Alert, Notice, Note)


def drawing(t: float) -> bytes:
    """A ball that moves with time, as JPEG."""
    image = Image.new("RGB", (320, 180), (60, 120, 70))
    x = 20 + (t * 40) % 280
    ImageDraw.Draw(image).ellipse((x, 70, x + 50, 120), fill=(210, 40, 40))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def seen(t: float) -> list[dict[str, Any]]:
    """Evidence: the frame at `t`, of two a second."""
    return [{"t": t, "frame": int(2 * t)}]


def row_of(number: int, text: str, t: float) -> dict[str, Any]:
    """A watch rule as the page gets it."""
    return {
        "id": number, "text": text, "condition": text, "kind": "event", "since": t,
        "last_checked": None, "next_check_s": 1.0, "check_interval_s": 2.0, "score": 0.0,
        "threshold": 0.7, "fired": 0, "last_fired": None, "dwell_s": 0.0, "cooldown_s": 10.0,
        "every_s": None, "in_s": None, "once": False, "only_if_changed": False,
        "severity": "warning", "actions": [], "schedule": "", "snoozed_until": None,
        "done": False, "timeouts": 0, "state": "watching",
    }


class FakeBackend:
    """`word_s` between the words of an answer, `remark_s` between remarks, `why_s` between reasons
    and checks of the rules; time starts at 0."""

    model_name = "fake"
    model_note = "A scripted model for tests; it says the same whatever it sees."

    def __init__(self, word_s: float = 0.01, remark_s: float = 1.0, tick_s: float = 0.1,
                 picture: Callable[[float], bytes] = drawing, why_s: float = 1.0):
        self.word_s, self.remark_s, self.tick_s, self.picture = word_s, remark_s, tick_s, picture
        self.why_s = why_s
        self.stats: Stats | None = None
        self.sources: dict[str, Any] = {"current": "sample", "name": "sample", "paused": False}
        self.commands: list[Command] = []
        self.jpegs: list[tuple[float, int]] = []          # (captured_at, bytes)
        self.newest = b""
        self.frozen_at: float | None = None               # the camera has stopped at this time
        self.opened: list[str] = []
        self.commentary = True
        self.threshold, self.remarks_per_minute = 0.7, 6.0
        self.typing: list[bool] = []                      # what pages said of their users
        self.started = time.time()
        self._told: list[Event] = []
        self._rules: list[dict[str, Any]] = []
        self._ruling = threading.Lock()                   # pages change the rules, we check them
        self._callbacks: list[Callable[[Event], None]] = []
        self._stop, self._hush = threading.Event(), threading.Event()
        self._asked: list[str] = []
        self._turn = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FakeBackend":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    # -------------------------------------------------- what the page calls

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def submit(self, command: Command) -> None:
        if isinstance(command, UserSpeaking):
            self.typing.append(command.speaking)
            return
        if isinstance(command, Query) and not command.text:
            raise StreamAssistError("The question is empty; type one.")
        self.commands.append(command)
        match command:
            case Query(text=text) if text.startswith("Tell me when"):
                with self._ruling:   # as the real one: such a question is a rule
                    self._change_rules(AddRule(" ".join(text.split())))
            case Query():
                self._asked.append(command.text)
            case Interrupt():
                self._hush.set()
            case Configure():
                self._configure(command)
            case Forget():
                self._forget(command)
            case AddRule() | RemoveRule() | EditRule():
                with self._ruling:
                    self._change_rules(command)
            case TryRule():
                self._try(command)
            case Rate():
                self._rate(command)

    def offer_jpeg(self, jpeg: bytes, captured_at: float) -> None:
        self.newest = jpeg
        self.jpegs.append((captured_at, len(jpeg)))

    def open_source(self, spec: str) -> None:
        if spec.startswith("rtsp://"):
            raise StreamAssistError("The camera at rtsp://host/ does not answer; check it.")
        self.opened.append(spec)
        self.sources = {"current": spec, "name": spec.partition(":")[0], "paused": False}

    def pause(self, paused: bool) -> None:
        self.sources = {**self.sources, "paused": paused}

    def history(self) -> list[dict[str, Any]]:
        return [event.line() for event in self._told]

    def rules(self) -> list[dict[str, Any]]:
        return self._rules

    def preview(self) -> tuple[bytes, float] | None:
        if self.sources["current"] in ("none", "browser") or self.sources["paused"]:
            return None
        t = round(self.now[0], 1) if self.frozen_at is None else self.frozen_at
        return self.picture(t), t

    def thumbnail(self, frame: int) -> bytes | None:
        return self.picture(frame / 2) if frame / 2 <= self.now[0] else None

    # -------------------------------------------------- what happens by itself

    @property
    def now(self) -> tuple[float, float]:
        wall = time.time()
        return wall - self.started, wall

    def emit(self, event: Event) -> None:
        if isinstance(event, TOLD):
            self._told.append(event)
        for callback in list(self._callbacks):
            callback(event)

    def _run(self) -> None:
        last = decided = 0.0
        while not self._stop.wait(self.tick_s):
            self._count()
            while self._asked:
                self._answer(self._asked.pop(0))
            t, wall = self.now
            if t - decided >= self.why_s:
                self._decide(decided, t)
                decided = t
            if self.commentary and not self.sources["paused"] and t - last >= self.remark_s:
                last = t
                reason = "something new is in view"
                self.emit(Remark(t, wall, f"The ball is at mark {int(t)}.", seen(t), 0.8, reason))

    def _decide(self, since: float, t: float) -> None:
        """Say why it spoke or not in this stretch, and check the rules."""
        score = round(t * 0.37 % 1, 3)
        speaks = score >= self.threshold
        self.emit(Why(
            *self.now, since, "speak" if speaks else "silent",
            "something new is in view" if speaks else "nothing new enough", 2, score,
            self.threshold, {"change": score, "novelty": 0.4, "motion": 0.1, "p_silence": None},
        ))
        with self._ruling:
            self._rules = [{**rule, "last_checked": t, "score": round(score / 2, 3)}
                           for rule in self._rules]
        if self._rules:
            self.emit(Rules(*self.now, self._rules))

    def _count(self) -> None:
        t, wall = self.now
        self.stats = Stats(
            t, wall, frames_seen=int(t * 25), frames_used=int(t * 2), frames_dropped=int(t / 7),
            cache_tokens=min(512, int(t * 32)), cache_bytes=min(512, int(t * 32)) * 23_040,
            lag_s=0.2 + 0.1 * ((t * 0.7) % 1), source_fps=25.0, used_fps=2.0,
            first_word_ms=180.0 if self._turn else None, urge=(t * 0.37) % 1,
            threshold=self.threshold,
            extra={"commentary": self.commentary, "remarks_per_minute": self.remarks_per_minute},
        )
        self.emit(self.stats)

    def _answer(self, question: str) -> None:
        self._turn += 1
        self._hush.clear()
        t, wall = self.now
        self.emit(ReplyStarted(t, wall, self._turn, question))
        said = ""
        for word in ANSWER.split():
            if self._hush.wait(self.word_s):
                break
            said += (" " if said else "") + word
            self.emit(TextDelta(*self.now, self._turn, word if said == word else " " + word))
        stopped = self._hush.is_set()
        self.emit(Answer(
            *self.now, said, question, t, 180.0, [seen(max(0.0, t - s))[0] for s in (3, 2, 1, 0)],
            self._turn, stopped, (max(0.0, t - 16), t), 0.4, 3,
        ))

    def _configure(self, command: Configure) -> None:
        if command.commentary is not None:
            self.commentary = command.commentary
        if command.threshold is not None:
            self.threshold = command.threshold
        if command.remarks_per_minute is not None:
            self.remarks_per_minute = command.remarks_per_minute

    def _forget(self, command: Forget) -> None:
        since = self.now[0] - 60 * command.minutes if command.minutes else None
        self._told[:] = [e for e in self._told if since is not None and e.t < since]
        self.emit(Forgotten(*self.now, since=since))

    def _change_rules(self, command: AddRule | RemoveRule | EditRule) -> None:
        t, wall = self.now
        if isinstance(command, AddRule):
            row = {**row_of(len(self.commands), command.text, t), "fired": 1, "last_fired": t}
            self._rules = [*self._rules, row]
            self.emit(Alert(t, wall, command.text, t, "It is so now.", row["id"], 0.9, seen(t)))
        else:
            mine = next((r for r in self._rules if r["id"] == command.rule_id), None)
            if mine is None:
                raise StreamAssistError(f"There is no rule number {command.rule_id}.")
            new = [self._edited(mine, command)] if isinstance(command, EditRule) else []
            at = self._rules.index(mine)
            self._rules = [*self._rules[:at], *new, *self._rules[at + 1:]]
        self.emit(Rules(t, wall, self._rules))

    def _edited(self, row: dict[str, Any], command: EditRule) -> dict[str, Any]:
        row = {**row, **command.changes}
        row["schedule"] = row["schedule"].replace("-", " and ")
        if command.snooze_s is not None:
            until = self.now[0] + command.snooze_s if command.snooze_s else None
            row |= {"snoozed_until": until, "state": "snoozed" if until else "watching"}
        return row

    def _try(self, command: TryRule) -> None:
        """It would have fired three times, but for rules about nothing."""
        t, wall = self.now
        since = max(0.0, t - 60 * command.minutes)
        shares = () if "nothing" in command.text else (0.2, 0.5, 0.8)
        times = [{**seen(t * share)[0], "score": 0.9} for share in shares]
        self.emit(RuleTried(t, wall, command.text, command.text, since, int(2 * t), times))

    def _rate(self, command: Rate) -> None:
        self.threshold = round(self.threshold + (-0.05 if command.good else 0.05), 3)
        less = "more" if command.good else "less"
        self.emit(Notice(*self.now, f"I speak {less} of that kind: from {self.threshold} on."))
