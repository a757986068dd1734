"""Between the one worker and the pages that are open: fans events out, remembers who films."""
from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from streamassist.errors import StreamAssistError
from streamassist.types import Command, Event, Forgotten, Stats, UserSpeaking, Why
from ui.outbox import Line, Outbox

log = logging.getLogger(__name__)

Picture = tuple[bytes, float]

KINDS = ("sample", "file", "rtsp", "rtsps", "camera", "browser", "none")
MAX_HISTORY = 400      # lines a page gets when it joins
MAX_WHYS = 60          # and so many of why it spoke or stayed silent
SAME_FOR_S = 5.0       # an old picture does not stand for what is to be seen longer than this


class Backend(Protocol):
    """What the page needs of the assistant; handed in, so that ui knows no model.

    `sources`: {"current": spec, "name": how to call it (no password in it), "paused": bool}.
    Methods raise StreamAssistError with a sentence that the page shows.
    """

    stats: Stats | None           # the last one sent
    model_name: str
    model_note: str               # what the model can and cannot do, and its licence
    frame_side: int               # `VideoLLM.frame_side`; read where it is there
    fps: float                    # pictures a second given to the model; read where it is there
    sources: dict[str, Any]

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """`callback` runs in the worker's thread and does not block; returns the way out."""

    def submit(self, command: Command) -> None: ...

    def offer_jpeg(self, jpeg: bytes, captured_at: float) -> None:
        """A picture from the browser, taken at Unix time `captured_at`; never blocks."""

    def open_source(self, spec: str) -> None:
        """sample | file:PATH | rtsp://... | camera:N | browser | none"""

    def pause(self, paused: bool) -> None: ...

    def history(self) -> list[Line]:
        """Lines of the events so far (answer, remark, alert, notice, note, failed), oldest
        first."""

    def rules(self) -> list[dict[str, Any]]:
        """The watch rules as in the last `Rules` event."""

    def preview(self) -> Picture | None:
        """The newest picture of a server-side source as JPEG, and its pts."""

    def thumbnail(self, frame: int) -> bytes | None:
        """JPEG of the frame with this index, if it is still held."""


class Page:
    """One open page: its own id (kept over reconnects), what waits to be sent, its clock."""

    def __init__(self, page_id: str, outbox: Outbox, clock_ahead_s: float = 0.0):
        self.id = page_id
        self.outbox = outbox
        self.clock_ahead_s = clock_ahead_s     # the browser's clock minus ours
        self.pictures_received = 0
        self.previews_unacked = 0
        self.preview_pts: float | None = None
        self.speaking = False                  # its user is speaking or typing


class Hub:
    """The pages, and what a page that joins must know. `_on_event` runs in the worker's thread."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.filming: str | None = None        # id of the page whose camera or screen is the source
        self.label = "camera"
        self._filmed: Picture | None = None
        self._whys: deque[Line] = deque(maxlen=MAX_WHYS)
        self._pages: tuple[Page, ...] = ()     # replaced, never changed: read by the worker thread
        self.close = backend.subscribe(self._on_event)

    def join(self, page: Page) -> None:
        self._pages = (*self._pages, page)

    def leave(self, page: Page) -> None:
        """What its user began to say is not waited for any more."""
        self._pages = tuple(p for p in self._pages if p is not page)
        if page.speaking:
            try:
                self.backend.submit(UserSpeaking(False))
            except StreamAssistError as refusal:
                log.debug("not told that a user went: %s", refusal)

    def send_all(self, line: Line) -> None:
        for page in self._pages:
            page.outbox.put(line)

    def _on_event(self, event: Event) -> None:
        line = event.line()
        if isinstance(event, Forgotten):
            self._filmed = None
            self._forget_whys(event.since)
        elif isinstance(event, Why):
            self._whys.append(line)
        if isinstance(event, Stats):
            for page in self._pages:
                page.outbox.put_newest("stats", line)
        else:
            self.send_all(line)

    def _forget_whys(self, since: float | None) -> None:
        kept = [why for why in self._whys if since is not None and why["t"] < since]
        self._whys = deque(kept, maxlen=MAX_WHYS)

    def hello(self) -> Line:
        stats = self.backend.stats
        return {
            "type": "hello",
            "history": self.backend.history()[-MAX_HISTORY:],
            "whys": list(self._whys.copy()),
            "model": self.backend.model_name,
            "note": self.backend.model_note,
            "rules": self.backend.rules(),
            "stats": stats.line() if stats else None,
            "source": self.source(),
        }

    def source(self) -> Line:
        """What is being watched; file paths and addresses stay here."""
        known = self.backend.sources
        kind = str(known.get("current", "none")).partition(":")[0]
        kind = kind if kind in KINDS else "file"      # the command line takes bare paths too
        filming = self.filming if kind == "browser" else None
        name = self.label if kind == "browser" else known.get("name", kind)
        return {"type": "source", "kind": kind, "name": name,
                "paused": bool(known.get("paused")), "filming": filming}

    def open_source(self, spec: str, page: Page, label: str) -> None:
        self.backend.open_source(spec)
        self.filming = page.id if spec == "browser" else None
        self.label, self._filmed = label, None

    def film(self, page: Page, jpeg: bytes, captured_at: float) -> None:
        """A picture from a page; only the page whose turn it is is listened to."""
        if page.id == self.filming:
            self._filmed = (jpeg, captured_at)
            self.backend.offer_jpeg(jpeg, captured_at)

    def film_same(self, page: Page, captured_at: float) -> None:
        """The page looked again and saw no change: its last picture stands for this moment too.

        So rules, memory and the stream's time go on as if it had been sent.
        """
        filmed = self._filmed
        if page.id == self.filming and filmed and captured_at - filmed[1] <= SAME_FOR_S:
            self.backend.offer_jpeg(filmed[0], captured_at)

    def forget_picture(self) -> None:
        """What was asked to be forgotten must not come back as "the same as before"."""
        self._filmed = None

    def preview(self, page: Page) -> Picture | None:
        """The newest picture a page cannot see by itself."""
        if self.filming is None:
            return self.backend.preview()
        return self._filmed if page.id != self.filming else None
