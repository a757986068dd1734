"""The WebSocket `/live`: commands, pictures and sound up; events and pictures down.

Text messages are JSON objects with a "type". Binary ones are 1 byte kind (1 JPEG, 2 PCM16 at
16 kHz, 3 "as the JPEG before", empty), the time as big-endian float64 (up: Unix time on the
browser's clock; down: pts), payload. Every JPEG is acknowledged with {"type": "ack",
"received": n}, n in all; the page answers each picture it was sent with {"type": "seen"}. Neither
side has more than two under way.

Up: hello{id, now}, what `commands` knows (ask{text}, interrupt, add_rule{text},
remove_rule{rule_id}, edit_rule{rule_id, changes, snooze_s}, try_rule{text, minutes}, rate{t, good},
user_speaking{speaking}, configure{commentary, threshold, remarks_per_minute},
forget{rules, minutes}), source{spec, label}, pause{paused}, capture{state}, sending{...} (see
`Report`), seen.
Down: hello{...} (see `Hub.hello`), every `Event.line()`, ack, source{...}, send{...} (see `Plan`),
configured{commentary, threshold, remarks_per_minute}, refused{text, command}.
"""
import asyncio
import json
import logging
import math
import struct
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from starlette.websockets import WebSocket, WebSocketDisconnect

from streamassist.errors import StreamAssistError
from streamassist.types import Command, Configure, Forget, UserSpeaking
from ui.commands import COMMANDS, Message, parse, text_of
from ui.guard import Keys
from ui.hub import Hub, Page
from ui.outbox import Outbox, TooSlow
from ui.sender import Report, Sender
from ui.uploads import Uploads

log = logging.getLogger(__name__)

JPEG, PCM, SAME = 1, 2, 3
MAX_MESSAGE = 8 << 20             # bytes of one message, enforced by uvicorn
HELLO_WITHIN_S = 10.0
PREVIEW_EVERY_S = 0.1
MAX_UNACKED = 2
OLDEST_S = 5.0                    # a picture that claims to be older is taken to be this old
BAD_HELLO, TOO_SLOW = 4400, 4408

_header = struct.Struct(">Bd")
Speech = Callable[[bytes, float], None]


class Session:
    """One connection, from hello to goodbye."""

    def __init__(self, socket: WebSocket, hub: Hub, uploads: Uploads, sender: Sender,
                 speech: Speech | None):
        self.socket, self.hub, self.uploads, self.speech = socket, hub, uploads, speech
        self.sender = sender
        self.outbox = Outbox(asyncio.get_running_loop())
        self.page = Page("", self.outbox)

    async def run(self) -> None:
        try:
            if not await self._greet():
                return
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._receive())
                tasks.create_task(self._send())
                tasks.create_task(self._previews())
        except* (WebSocketDisconnect, RuntimeError) as gone:
            log.debug("a page left: %s", gone.exceptions)
        except* TooSlow:
            await self.socket.close(TOO_SLOW, "too slow")
        finally:
            self.hub.leave(self.page)

    async def _greet(self) -> bool:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                hello = json.loads(await self.socket.receive_text())
            self.page.id = str(hello["id"])[:64]
            self.page.clock_ahead_s = float(hello["now"]) - time.time()
            if not math.isfinite(self.page.clock_ahead_s):
                raise ValueError("a time that is none")
        except WebSocketDisconnect:
            return False
        except (TimeoutError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            await self.socket.close(BAD_HELLO, "hello expected")
            return False
        self.hub.join(self.page)   # before the history is read, so that nothing falls in between
        history = await asyncio.to_thread(self.hub.hello)
        extra = {"speech": self.speech is not None, "send": self.sender.plan.line(),
                 "now": time.time()}
        await self.socket.send_text(json.dumps({**history, **extra}))
        return True

    async def _send(self) -> None:
        while True:
            for item in await self.outbox.take():
                if isinstance(item, bytes):
                    self.page.previews_unacked += 1
                    await self.socket.send_bytes(item)
                else:
                    await self.socket.send_text(json.dumps(item))

    async def _previews(self) -> None:
        page = self.page
        while True:
            await asyncio.sleep(PREVIEW_EVERY_S)
            if page.previews_unacked >= MAX_UNACKED:
                continue
            picture = await asyncio.to_thread(self.hub.preview, page)
            if picture and picture[1] != page.preview_pts:
                jpeg, page.preview_pts = picture
                self.outbox.put_newest("preview", _header.pack(JPEG, page.preview_pts) + jpeg)

    async def _receive(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if (payload := message.get("bytes")) is not None:
                self._binary(payload)
            else:
                await self._text(message["text"])

    def _binary(self, payload: bytes) -> None:
        if len(payload) < _header.size:
            return
        kind, taken_at = _header.unpack_from(payload)
        taken_at = _plausible(taken_at - self.page.clock_ahead_s, time.time())
        body = payload[_header.size:]
        if kind == SAME:
            self.hub.film_same(self.page, taken_at)
        elif not body:
            return
        elif kind == JPEG:
            self.hub.film(self.page, body, taken_at)
            self.page.pictures_received += 1
            ack = {"type": "ack", "received": self.page.pictures_received}
            self.outbox.put_newest("ack", ack)
        elif kind == PCM and self.speech:
            self.speech(body, taken_at)

    async def _text(self, text: str) -> None:
        kind = "message"
        try:
            message = parse(text)
            kind = message["type"]
            await self._obey(kind, message)
        except StreamAssistError as refusal:
            self.outbox.put({"type": "refused", "text": str(refusal), "command": kind})
        except Exception:
            log.exception("command %s failed", kind)
            sentence = f"The server could not carry out {kind!r}; its log says why."
            self.outbox.put({"type": "refused", "text": sentence, "command": kind})

    async def _obey(self, kind: str, message: Message) -> None:
        if kind == "seen":
            self.page.previews_unacked = max(0, self.page.previews_unacked - 1)
        elif kind == "capture":
            log.info("a page's camera or screen is %s", str(message.get("state"))[:8])
        elif kind == "sending":
            self._adapt(Report.of(message))
        elif kind == "source":
            await self._open(text_of(message, "spec"), str(message.get("label", "camera"))[:40])
        elif kind == "pause":
            await asyncio.to_thread(self.hub.backend.pause, bool(message.get("paused")))
            self.hub.send_all(self.hub.source())
        elif kind in COMMANDS:
            await self._command(COMMANDS[kind](message))
        else:
            raise StreamAssistError(f"The server knows no command {kind[:40]!r}; reload the page.")

    async def _command(self, command: Command) -> None:
        if isinstance(command, Forget):
            self.hub.forget_picture()
        await asyncio.to_thread(self.hub.backend.submit, command)
        if isinstance(command, Configure):
            self.hub.send_all({"type": "configured", **asdict(command)})
        elif isinstance(command, UserSpeaking):
            self.page.speaking = command.speaking

    def _adapt(self, report: Report) -> None:
        """Ask the page that films for more or for less than it sends now."""
        if self.page.id != self.hub.filming:
            return
        plan = self.sender.heard(report, self.hub.backend.stats)
        if plan:
            self.outbox.put_newest("send", plan.line())

    async def _open(self, spec: str, label: str) -> None:
        if spec.startswith("file:"):
            return await self._open_upload(self.uploads.path(spec.removeprefix("file:")), label)
        if not (spec in ("sample", "browser", "none")
                  or spec.startswith(("rtsp://", "rtsps://", "camera:"))):
            raise StreamAssistError(
                "That address is not one the assistant can watch; it must begin with rtsp:// "
                "(or be camera:0 for a camera plugged into the server)."
            )
        await self._watch(spec, label)

    async def _open_upload(self, path: Path, label: str) -> None:
        try:
            await self._watch(f"file:{path}", label)
        except StreamAssistError as error:   # the user knows the file by its own name
            raise StreamAssistError(str(error).replace(str(path), label)) from error

    async def _watch(self, spec: str, label: str) -> None:
        await asyncio.to_thread(self.hub.open_source, spec, self.page, label)
        self.page.preview_pts = None
        self.hub.send_all(self.hub.source())


def _plausible(taken_at: float, now: float) -> float:
    """A capture time no page can misuse: a clock set anew must not turn the stream's time back."""
    return now if math.isnan(taken_at) else min(max(taken_at, now - OLDEST_S), now)


async def serve_page(socket: WebSocket, hub: Hub, uploads: Uploads, keys: Keys,
                     sender: Sender, speech: Speech | None) -> None:
    """The endpoint. The socket is accepted first: only then does a close code reach the page."""
    await socket.accept()
    refusal = keys.refuse_socket(socket)
    if refusal:
        await socket.close(refusal)
        return
    await Session(socket, hub, uploads, sender, speech).run()
