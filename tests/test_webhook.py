"""Webhooks: what arrives, what is tried again, and that nothing they meet can hold the stream."""
import threading
import time
from email.utils import formatdate
from functools import partial

import pytest

from receivers import ALERT, SECRET, Receiver, deliver, hooked, receiving, settled, status, wait_for
from streamassist.clock import ManualClock
from streamassist.errors import StreamAssistError
from streamassist.types import Alert, Remark
from streamassist.webhook import MAX_BODY, MAX_WAITING, Webhook, as_listener, signature

# ---------------------------------------------------------------- what arrives

def test_an_alert_arrives_whole_and_its_signature_can_be_verified():
    with receiving() as receiver:
        webhook = deliver(receiver.url + "?key=1")
    (request,) = receiver.requests
    assert request.line == "POST /alerts?key=1 HTTP/1.1" and request.json == ALERT
    headers = request.headers
    assert headers["content-type"] == "application/json"
    assert headers["x-streamassist-timestamp"] == "1700000000"
    assert headers["x-streamassist-signature"] == signature(SECRET, "1700000000", request.body)
    assert webhook.figures() == {"sent": 1, "failed": 0, "dropped": 0, "waiting": 0}
    assert webhook.faults() == []


def test_the_signature_is_that_of_the_description():
    """Computed with: printf '1700000000.{}' | openssl dgst -sha256 -hmac 'a secret of the tests'"""
    expected = "sha256=99b537ba2e7b40fb0a32d5ddbf4ee721a8d63eec524164afec9307152e8e38ae"
    assert signature(SECRET, "1700000000", b"{}") == expected
    assert signature(SECRET, "1700000001", b"{}") != expected
    assert signature(SECRET + "!", "1700000000", b"{}") != expected


def test_only_alerts_that_ask_for_it_are_sent():
    with receiving() as receiver, hooked(receiver.url) as webhook:
        listen = as_listener(webhook)
        seen = [{"t": 3.0, "frame": 6}]
        alert = partial(Alert, 3.0, 99.0, "Tell me when ...", text="A dog", score=0.8,
                        evidence=seen, severity="urgent")
        listen(alert())
        listen(Remark(3.0, 99.0, "A dog!"))
        listen(alert(actions=["sound", "webhook"]))
        wait_for(lambda: webhook.figures()["sent"])
    (request,) = receiver.requests
    assert request.json == {
        "rule": "Tell me when ...", "text": "A dog", "t": 3.0, "wall": 99.0, "score": 0.8,
        "severity": "urgent", "evidence": seen,
    }


@pytest.mark.parametrize("payload", [
    {"score": float("nan")}, {"text": {1, 2}}, {"text": "x" * MAX_BODY},
])
def test_what_cannot_be_a_message_is_counted_and_told(payload):
    with receiving() as receiver:
        webhook = deliver(receiver.url, payload)
    assert not receiver.connections and webhook.figures()["failed"] == 1
    assert "could not be written" in webhook.faults()[0]


# ---------------------------------------------------------------- trying again

@pytest.mark.parametrize("first", [
    status(500), status(503), status(429), status(408), b"", b"SSH-2.0-no-http\r\n", b"HTTP/1.1 x"
])
def test_a_passing_fault_is_tried_again(first):
    with receiving(first) as receiver:
        webhook = deliver(receiver.url)
    before, after = receiver.requests
    assert webhook.figures()["sent"] == 1 and not webhook.faults()
    assert before.body == after.body
    name = "x-streamassist-delivery"
    assert before.headers[name] == after.headers[name]


@pytest.mark.parametrize("code", [400, 401, 404, 410])
def test_what_is_refused_for_good_is_not_tried_again(code):
    with receiving(status(code)) as receiver:
        webhook = deliver(receiver.url)
    assert len(receiver.requests) == 1 and webhook.figures()["failed"] == 1
    assert f"status {code}; check the address" in webhook.faults()[0]


def test_tries_are_few_and_pauses_grow():
    with receiving(*[status(500)] * 9) as receiver:
        webhook = deliver(receiver.url, tries=4, backoff_s=0.1)
    times = [request.at for request in receiver.requests]
    pauses = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(pauses) == 3
    for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=True):
        assert least <= pause < 5
    assert webhook.figures()["failed"] == 1 and "status 500" in webhook.faults()[0]


def test_a_message_is_given_up_after_the_total_time():
    with receiving(*[status(500)] * 9) as receiver:
        started = time.monotonic()
        deliver(receiver.url, backoff_s=0.2, total_s=0.05)
    assert len(receiver.requests) == 1 and time.monotonic() - started < 2


def test_the_receiver_may_ask_for_a_pause():
    with receiving(status(429, "Retry-After: 1")) as receiver:
        deliver(receiver.url)
    first, second = (request.at for request in receiver.requests)
    assert 0.9 < second - first < 9


@pytest.mark.parametrize("ahead_s, requests", [(50, 1), (-50, 2)])
def test_the_pause_may_be_a_date(ahead_s, requests):
    """What lies beyond the message's total time is not waited for."""
    header = f"Retry-After: {formatdate(time.time() + ahead_s, usegmt=True)}"
    with receiving(status(503, header)) as receiver:
        deliver(receiver.url, total_s=5.0)
    assert len(receiver.requests) == requests


@pytest.mark.parametrize("header", ["-5", "soon", "9" * 400, "Fri, 99 Foo 2024"])
def test_an_absurd_pause_is_no_trouble(header):
    """A long one is cut at a minute, which is more than this message has."""
    with receiving(status(503, f"Retry-After: {header}")) as receiver:
        webhook = deliver(receiver.url, total_s=2.0)
    figures = webhook.figures()
    assert figures["sent"] + figures["failed"] == 1
    assert len(receiver.requests) == (1 if header.startswith("9") else 2)


# ---------------------------------------------------------------- bad company

@pytest.mark.parametrize("misdeed", [Receiver.hang, Receiver.drip])
def test_a_receiver_that_never_ends_holds_neither_send_nor_stop(misdeed):
    with receiving() as receiver:
        receiver.replies = [partial(misdeed, receiver)] * 3
        with hooked(receiver.url, timeout_s=0.4, tries=2) as webhook:
            started = time.monotonic()
            webhook.send(ALERT)
            assert time.monotonic() - started < 0.2
            wait_for(lambda: receiver.requests)
            webhook.stop(0.05)
            assert time.monotonic() - started < 2
            webhook.send(ALERT)   # is not kept waiting, nor is it counted as sent
            assert webhook.figures()["dropped"] == 1
            wait_for(partial(settled, webhook), 3)   # the time limit of the try itself
            assert webhook.figures()["failed"] == 1
            assert "did not answer within 0.4 s" in webhook.faults()[0]


def test_the_queue_is_bounded_and_the_oldest_leave():
    free = threading.Event()
    with receiving(lambda _: free.wait(10)) as receiver:
        with hooked(receiver.url, timeout_s=20, tries=1) as webhook:
            webhook.send({"number": 0})
            wait_for(lambda: receiver.requests)
            for number in range(1, MAX_WAITING + 4):
                webhook.send({"number": number})
            figures = webhook.figures()
            assert figures["dropped"] == 3 and figures["waiting"] == MAX_WAITING + 1
            assert ["too slow" in sentence for sentence in webhook.faults()] == [True]
            free.set()
            wait_for(partial(settled, webhook))
    numbers = [request.json["number"] for request in receiver.requests]
    assert numbers == [0, *range(4, MAX_WAITING + 4)]


def test_what_still_waits_at_the_end_is_dropped_and_told():
    with receiving() as receiver:
        receiver.replies = [receiver.hang]
        with hooked(receiver.url, timeout_s=0.5, tries=1) as webhook:
            for number in range(5):
                webhook.send({"number": number})
            wait_for(lambda: receiver.requests)
            webhook.stop(0)
            assert webhook.figures()["dropped"] == 4
            assert "when the program ended" in webhook.faults()[0]


def test_what_waits_when_it_ends_is_sent_in_order_if_there_is_time():
    with receiving() as receiver, hooked(receiver.url) as webhook:
        for number in range(10):
            webhook.send({"number": number})
        webhook.stop(5)
    assert [request.json["number"] for request in receiver.requests] == list(range(10))


def test_nobody_at_home_is_told_once():
    with receiving() as receiver:
        url = receiver.url
    with hooked(url, tries=2) as webhook:
        webhook.send(ALERT)
        webhook.send(ALERT)
        wait_for(partial(settled, webhook))
    assert webhook.figures()["failed"] == 2
    (sentence,) = webhook.faults()
    assert "takes none" in sentence and "check that it is running" in sentence


def test_a_short_secret_is_refused():
    with pytest.raises(StreamAssistError, match="at least 8"):
        Webhook("https://example.org", "1234567", ManualClock())
