"""The socket's protocol: commands up, events and pictures down, several pages, a slow page."""
import json
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from fake_backend import ANSWER, FakeBackend, drawing
from served import Served, serving, wait_for
from streamassist.types import (
    AddRule,
    Configure,
    Forget,
    Interrupt,
    Notice,
    Query,
    RemoveRule,
    Stats,
)
from ui.hub import MAX_HISTORY
from ui.stream import BAD_HELLO, TOO_SLOW


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(FakeBackend(remark_s=1e9)) as served:
        yield served


def test_hello_tells_a_new_page_everything(served: Served) -> None:
    wait_for(lambda: served.backend.stats)
    served.backend.emit(Notice(*served.backend.now, "The sample plays."))
    with served.page() as page:
        hello = page.hello
    assert [line["text"] for line in hello["history"]] == ["The sample plays."]
    assert hello["model"] == "fake" and "scripted" in hello["note"]
    assert hello["source"]["kind"] == "sample" and hello["source"]["paused"] is False
    assert hello["stats"]["type"] == "stats" and hello["speech"] is False
    assert abs(hello["now"] - time.time()) < 5 and hello["send"]["fps"] > 0


def test_an_answer_comes_word_by_word_and_then_whole(served: Served) -> None:
    served.backend.word_s = 0.03
    with served.page() as page:
        page.send("ask", text="  What rolls? ")
        lines = page.until("answer")
    kinds = [line["type"] for line in lines if line["type"] != "stats"]
    deltas = [line["text"] for line in lines if line["type"] == "text_delta"]
    assert kinds[0] == "reply_started" and kinds[-1] == "answer"
    assert len(deltas) > 3 and "".join(deltas) == ANSWER == lines[-1]["text"]
    assert served.backend.commands == [Query("What rolls?")]
    assert lines[-1]["question"] == "What rolls?"


def test_every_command_reaches_the_assistant(served: Served) -> None:
    with served.page() as page:
        page.send("interrupt")
        page.send("add_rule", text="Tell me when a dog appears")
        page.send("remove_rule", rule_id=2)
        page.send("configure", commentary=False, threshold=0.5)
        page.send("forget", rules=True)
        page.send("forget", minutes=5)
        page.send("pause", paused=True)
        lines = page.until("forgotten") + page.until("source")
    assert served.backend.commands == [
        Interrupt(), AddRule("Tell me when a dog appears"), RemoveRule(2), Configure(False, 0.5),
        Forget(rules=True), Forget(minutes=5.0),
    ]
    assert served.backend.sources["paused"] is True
    assert lines[-1] == {"type": "source", "kind": "sample", "name": "sample", "paused": True,
                         "filming": None}
    assert any(line["type"] == "configured" and line["threshold"] == 0.5 for line in lines)


@pytest.mark.parametrize("text, words", [
    ("not json", "cannot read"),
    ("[1]", "cannot read"),
    ('{"type": "dance"}', "no command"),
    ('{"type": "ask"}', "must be text"),
    ('{"type": "ask", "text": ""}', "question is empty"),
    (json.dumps({"type": "ask", "text": "x" * 5000}), "at most"),
    ('{"type": "remove_rule", "rule_id": "1"}', "no number"),
    ('{"type": "configure", "threshold": 7}', "between 0 and 1"),
    ('{"type": "configure", "commentary": 1}', "on or off"),
    ('{"type": "source", "spec": "file:/etc/passwd"}', "choose it again"),
    ('{"type": "source", "spec": "http://example.org/x"}', "rtsp://"),
    ('{"type": "source", "spec": "/etc/passwd"}', "rtsp://"),
    ('{"type": "source", "spec": "rtsp://user:secret@host/"}', "does not answer"),
])
def test_a_mistake_is_refused_with_a_sentence_and_the_socket_lives_on(
    served: Served, text: str, words: str
) -> None:
    with served.page() as page:
        page.socket.send(text)
        refusal = page.until("refused")[-1]
        page.send("ask", text="Still there?")
        page.until("answer")
    assert words in refusal["text"] and "secret" not in refusal["text"]
    assert not served.backend.opened


def test_a_bug_in_the_assistant_is_told_and_does_not_close_the_socket(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.backend, "pause", lambda paused: 1 / 0)
    with served.page() as page:
        page.send("pause", paused=True)
        assert "log says why" in page.until("refused")[-1]["text"]
        page.send("ask", text="Still there?")
        page.until("answer")


def test_pictures_go_up_acknowledged_and_on_our_clock(served: Served) -> None:
    jpeg, ahead = drawing(0.0), 3600.0
    with served.page(clock_ahead_s=ahead) as page:
        page.send("source", spec="browser", label="camera")
        wait_for(lambda: served.backend.opened == ["browser"])
        for _ in range(3):
            page.send_picture(jpeg, time.time() + ahead)
        while page.until("ack")[-1]["received"] < 3:
            pass
    taken_at, size = served.backend.jpegs[-1]
    assert len(served.backend.jpegs) == 3
    assert abs(taken_at - time.time()) < 5 and size == len(jpeg)


def test_only_the_page_whose_turn_it_is_is_filmed(served: Served) -> None:
    with served.page("first") as first, served.page("second") as second:
        first.send("source", spec="browser", label="camera")
        assert second.until("source")[-1]["filming"] == "first"
        second.send_picture(b"\xff\xd8 not mine")
        second.until("ack")
        first.send_picture(drawing(1.0))
        first.until("ack")
        assert [size for _, size in served.backend.jpegs] == [len(drawing(1.0))]
        assert second.picture()[1] == drawing(1.0), "the other page sees what is filmed"
        second.send("source", spec="sample")
        line = first.until("source")
        line = first.until("source") if line[-1]["kind"] == "browser" else line
        assert line[-1]["kind"] == "sample" and line[-1]["filming"] is None


def test_previews_wait_for_the_page_to_have_seen_them(served: Served) -> None:
    with served.page() as page:
        (first, jpeg), (second, _) = page.picture(), page.picture()
        assert jpeg.startswith(b"\xff\xd8") and second > first
        time_before = time.monotonic()
        while time.monotonic() - time_before < 0.6:
            assert isinstance(page.socket.recv(5), str), "a third picture came unasked"
        page.send("seen")
        assert page.picture()[0] > second + 0.3, "an old picture was kept instead of the newest"


def test_two_pages_see_the_same_session_and_a_new_one_gets_the_past(served: Served) -> None:
    with served.page("a") as a, served.page("b") as b:
        a.send("ask", text="What rolls?")
        assert a.until("answer")[-1] == b.until("answer")[-1]
    with served.page("c") as c:
        assert [line["question"] for line in c.hello["history"]] == ["What rolls?"]


def test_sound_reaches_the_listener_only_when_there_is_one() -> None:
    heard: list[bytes] = []
    with serving(FakeBackend(), speech=lambda pcm, t: heard.append(pcm)) as served:
        with served.page() as page:
            assert page.hello["speech"] is True
            page.send_picture(b"\x01\x02" * 640, kind=2)
            wait_for(lambda: heard)
    assert heard == [b"\x01\x02" * 640] and not served.backend.jpegs


def test_nothing_is_lost_while_a_page_joins(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said after the history was read and before the page listens."""
    history = served.backend.history

    def slow_history() -> list[dict]:
        read = history()
        served.backend.emit(Notice(*served.backend.now, "In between."))
        return read

    monkeypatch.setattr(served.backend, "history", slow_history)
    with served.page() as page:
        assert page.hello["history"] == [] and page.until("notice")[-1]["text"] == "In between."


def test_without_hello_the_socket_is_closed(served: Served) -> None:
    with served.socket() as socket:
        socket.send("{}")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(5)
    assert closed.value.rcvd.code == BAD_HELLO


def test_a_page_that_does_not_read_never_holds_up_the_worker() -> None:
    """The worker goes on at once; the page is closed with a code that makes it come back."""
    with serving(FakeBackend(remark_s=1e9, tick_s=60.0)) as served:
        with served.page() as slow:
            slow.socket.recv_messages.pause()
            text, began = "word " * 2000, time.monotonic()
            for _ in range(3000):
                served.backend.emit(Notice(*served.backend.now, text))
                served.backend.emit(Stats(*served.backend.now))
            spent = time.monotonic() - began
            slow.socket.recv_messages.resume()
            with pytest.raises(ConnectionClosed) as closed:
                for _ in range(5000):
                    slow.socket.recv(10)
        with served.page() as again:
            assert len(again.hello["history"]) == MAX_HISTORY
    assert closed.value.rcvd.code == TOO_SLOW
    assert spent < 5
