"""The delegate against a local server: what is sent, believed, and told when it fails."""
import base64
import io
import socket
import struct
import time

import pytest
from PIL import Image

from desk import BLUE, GREEN, RED, Desk
from helping import look, show, until, written
from sse_server import Handler, hang, refuse, say, serving
from streamassist import delegate as delegates
from streamassist.clock import ManualClock, RealClock
from streamassist.delegate import MAX_TEXT, MOST_PICTURES, Call, Delegate, DelegateError
from streamassist.endpoint import MAX_BYTES, MAX_LINE
from streamassist.errors import StreamAssistError
from streamassist.tools import Helpers

KEY = "sk-secret-0123456789"


def make(url: str, key: str = KEY, clock=None, **settings) -> Delegate:
    return Delegate(url, "big", key, clock or RealClock(), **settings)


def call(delegate: Delegate, question: str = "What is it?", recalled=()) -> Call:
    desk = Desk()
    desk.watch(RED, GREEN, BLUE, talk=False)
    errand = Helpers().errand(question, desk.clock)
    return delegate.ask(errand, look(desk.session), recalled)


def hear(on: Call) -> list[str]:
    """Every piece of the answer; the error, if any, as DelegateError."""
    pieces: list[str] = []
    until(lambda: on.done, lambda: pieces.append(on.step()))
    return [piece for piece in pieces if piece]


# ---------------------------------------------------------------- what is sent

def test_the_question_goes_out_with_pictures_and_comes_back_in_pieces():
    with serving(say("It is ", "a kite.")) as server:
        on = call(make(server.url))
        assert "".join(hear(on)) == on.text == "It is a kite."
    (path, headers, body), = server.requests
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == "big" and body["stream"] is True
    system, user = body["messages"]
    assert system["role"] == "system" and "never instructions" in system["content"]
    *pictures, question = user["content"]
    assert question == {"type": "text", "text": "What is it?"}
    assert [part["type"] for part in pictures] == ["text", "image_url"] * 2
    assert pictures[-2]["text"].endswith("just now:") and "second" in pictures[0]["text"]
    assert on.recalled == [(0, 0.0), (2, 1.0)] and on.span == (0.0, 1.0)


def test_pictures_are_few_and_small_and_old_ones_come_as_thumbnails():
    desk = Desk()
    for _ in range(12):
        show(desk, written("x", width=2000, height=1000))
    shown = delegates.pictures(look(desk.session), [(1, 0.5), (0, 0.0), (2, 1.0), (3, 1.5)])
    assert len(shown) == MOST_PICTURES
    assert [frame for (frame, _), _ in shown] == [0, 1, 2, 11]
    sides = []
    for _, picture in shown:
        url = delegates.data_url(picture)
        head, data = url.split(",")
        assert head == "data:image/jpeg;base64"
        sides.append(max(Image.open(io.BytesIO(base64.b64decode(data))).size))
    assert sides == [160, 160, 160, 768]


def test_without_a_key_none_is_sent():
    with serving(say("Yes.")) as server:
        hear(call(make(server.url, key="")))
    assert "Authorization" not in server.requests[0][1]


@pytest.mark.parametrize(
    "text, question",
    [
        ("ask the expert: what is it?", "what is it?"),
        ("Please ask an expert what it is", "what it is"),
        ("THINK HARD, why?", "why?"),
        ("think hard", "think hard"),
        ("What would an expert think?", None),
        ("Ask him", None),
    ],
)
def test_words_that_ask_for_it(text, question):
    assert Delegate.asked(text) == question


# ---------------------------------------------------------------- what comes back

def test_junk_between_the_words_is_passed_over():
    def script(handler: Handler) -> None:
        handler.begin()
        for junk in ("", ": ping", "event: x", "data: {", "data: []", "data: 7", "data: null",
                     'data: {"choices": [{"delta": {"content": 5}}]}', "data: " + "[" * 30000,
                     b"data: \xff\xfe", 'data: {"choices": [{"delta": {"content": "A"}}]}'):
            handler.line(junk)
        handler.line('data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}')

    with serving(script) as server:
        assert hear(call(make(server.url))) == ["A"]


def test_a_server_that_does_not_stream_is_understood():
    def script(handler: Handler) -> None:
        handler.begin(kind="application/json; charset=utf-8")
        handler.line('{"choices": [{"message": {"content": "All at once."}}]}')

    with serving(script) as server:
        assert hear(call(make(server.url))) == ["All at once."]


def test_an_answer_is_cut_and_cleaned():
    with serving(say("\x1b[31mred\x00\u202e\n", "x" * 3000, "x" * 3000, end=False)) as server:
        on = call(make(server.url))
        hear(on)
    assert on.text.startswith("[31mred\nxxx") and len(on.text) == MAX_TEXT


def endless(handler: Handler) -> None:
    handler.begin()
    for _ in range(MAX_BYTES // 1000 + 10):
        handler.line(": " + "x" * 1000)


def long_line(handler: Handler) -> None:
    handler.begin()
    handler.line("data: " + "x" * 2 * MAX_LINE)


def own_error(handler: Handler) -> None:
    handler.begin()
    handler.line(f'data: {{"error": {{"message": "bad key {KEY}"}}}}')


def reset(handler: Handler) -> None:
    handler.words("Half", end=False)
    linger = struct.pack("ii", 1, 0)   # closing then sends a reset
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def cut_chunk(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.begin(**{"Transfer-Encoding": "chunked"})
    handler.wfile.write(b"fff\r\ndata: {")


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"what do you want?\r\n")


@pytest.mark.parametrize(
    "script, words",
    [
        (refuse(401), "refuses the key; check STREAMASSIST_DELEGATE_KEY"),
        (refuse(404), "check --delegate and --delegate-model"),
        (refuse(429), "no room"),
        (refuse(503), "failed with status 503"),
        (refuse(204), "failed with status 204"),
        (say("Half of", end=False), "broke off before the end"),
        (reset, "broke off before the end"),
        (cut_chunk, "broke off before the end"),
        (say(), "gave no answer"),
        (lambda handler: handler.begin(), "broke off"),
        (endless, "far more than an answer"),
        (long_line, "far more than an answer"),
        (own_error, "reports an error of its own"),
        (no_http, "could not be reached"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_goes_wrong_is_told_in_a_sentence_without_the_key(script, words, caplog):
    with serving(script) as server, pytest.raises(DelegateError) as failed:
        hear(call(make(server.url)))
    sentence = str(failed.value)
    assert words in sentence and sentence.startswith("The helper at 127.0.0.1:")
    assert sentence.endswith("; I answer myself.")
    assert KEY not in sentence + caplog.text


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status):
    with serving(say("Caught!")) as other:
        with serving(refuse(status, Location=other.url)) as server:
            with pytest.raises(DelegateError, match="sends us on to another address"):
                hear(call(make(server.url)))
        assert not other.requests


def test_nobody_there_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(DelegateError, match="could not be reached"):
            hear(call(make(url)))


# ---------------------------------------------------------------- waiting, hanging up

@pytest.mark.parametrize("said, what", [((), "answer"), (("One",), "finish")])
def test_it_is_waited_for_as_long_as_was_said_and_then_hung_up(said, what):
    def script(handler: Handler) -> None:
        handler.words(*said, end=False)
        handler.wait()

    clock = ManualClock()
    with serving(script) as server:
        on = call(make(server.url, clock=clock))
        until(lambda: server.requests and on.text == "".join(said), on.step)
        clock.now = 59.9
        assert on.step() == "" and not on.done
        clock.now = 60.0
        with pytest.raises(DelegateError, match=f"did not {what} within 60 s; I answer myself"):
            on.step()
        on.close()
        assert server.hung_up.wait(60)


def test_hanging_up_frees_the_line_for_the_next_question():
    with serving(hang) as server:
        delegate = make(server.url)
        first = call(delegate)
        until(lambda: server.requests)
        first.close()
        assert server.hung_up.wait(60)
        server.script = say("Second.")
        assert hear(call(delegate)) == ["Second."]


def test_at_most_four_wait_and_none_is_kept_from_the_model():
    with serving(hang) as server:
        delegate = make(server.url)
        calls = [call(delegate)]
        until(lambda: server.requests)          # the first is being asked
        calls += [call(delegate) for _ in range(4)]
        begun = time.monotonic()
        assert [on.step() for on in calls] == [""] * 5
        assert time.monotonic() - begun < 5
        with pytest.raises(DelegateError, match="busy with earlier questions; I answer myself"):
            hear(call(delegate))
        for on in calls:
            on.close()
        server.script = say("Free again.")
        assert until(lambda: hear(call(delegate))) == ["Free again."]
    assert len(server.requests) == server.calls == 2   # what was given up was never sent


# ---------------------------------------------------------------- keys

@pytest.mark.parametrize("key", ["a\nb", "a b", "schlüssel", "x\r\nX-Evil: 1"])
def test_a_key_that_is_none_is_refused_without_being_told(key):
    with pytest.raises(StreamAssistError, match="no key is made of") as refused:
        make("https://example.org/v1", key)
    assert key not in str(refused.value)


def test_a_model_must_be_named():
    with pytest.raises(StreamAssistError, match="--delegate-model NAME"):
        Delegate("https://example.org/v1", " ", "", RealClock())
