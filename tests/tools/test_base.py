"""What tools share: quotations, ages, the thread aside, the errand."""
import threading
import time

import pytest

from helping import until
from streamassist.clock import ManualClock
from streamassist.errors import StreamAssistError
from streamassist.tools import TOOLS, Helpers, make_tools
from streamassist.tools.base import (
    MAX_FINDING,
    MAX_JOBS,
    MAX_SHOWN,
    TOOL_S,
    Aside,
    Found,
    ago,
    quoted,
)


class Scripted:
    """A tool that does as told."""

    name = "test_tool"

    def __init__(self, run, slow: bool = False):
        self._run, self.slow = run, slow

    def wants(self, question: str) -> bool:
        return "use it" in question

    def run(self, question, desk) -> Found:
        return self._run(question, desk)


def errand(*tools, question: str = "use it", clock=None):
    return Helpers(tools).errand(question, clock or ManualClock())


def run(one) -> None:
    until(lambda: one.advance(lambda: None), lambda: None)


# ---------------------------------------------------------------- words

@pytest.mark.parametrize(
    "text, quotation",
    [
        ("EXIT 12", '"EXIT 12"'),
        ('say "yes" now', "\"say 'yes' now\""),
        ("a\n\tb\x00c\x1b[2J\u202ed", '"a b c [2J d"'),
        ("  ", '""'),
        ("x" * 500, '"' + "x" * (MAX_FINDING - 3) + '..."'),
    ],
)
def test_a_quotation_ends_where_we_end_it(text, quotation):
    assert quoted(text) == quotation


@pytest.mark.parametrize(
    "seconds, words",
    [(0, "just now"), (1, "1 second ago"), (59.9, "59 seconds ago"), (60, "1 minute ago"),
     (1200, "20 minutes ago"), (3599, "59 minutes ago"), (7200, "2 hours ago")],
)
def test_ages_in_words(seconds, words):
    assert ago(seconds) == words


# ---------------------------------------------------------------- names

def test_tools_are_off_unless_named():
    assert make_tools("none") == () and Helpers().tools == ()
    assert [tool.name for tool in make_tools("all")] == list(TOOLS)
    assert [t.name for t in make_tools("read_text, look_again,read_text")] == [
        "read_text", "look_again"
    ]
    assert all(tool.describe().endswith(".") for tool in make_tools("all"))


@pytest.mark.parametrize("names", ["", "ocr", "read_text,", "none,read_text"])
def test_an_unknown_tool_is_refused_with_the_names(names):
    with pytest.raises(StreamAssistError, match="--tools .* is unknown; choose none, all, or of: "):
        make_tools(names)


# ---------------------------------------------------------------- aside

def test_the_thread_starts_with_the_first_job_and_few_wait():
    before, aside, gate = threading.active_count(), Aside("reader"), threading.Event()
    assert threading.active_count() == before
    first = aside.do(gate.wait)
    until(first.running)
    waiting = [aside.do(threading.get_ident) for _ in range(MAX_JOBS)]
    with pytest.raises(StreamAssistError, match="keep the reader busy"):
        aside.do(threading.get_ident)
    assert waiting[0].cancel()
    gate.set()
    ran = {job.result(10) for job in waiting[1:]}
    assert len(ran) == 1 and threading.get_ident() not in ran
    assert threading.active_count() == before + 1


# ---------------------------------------------------------------- the errand

def test_only_tools_that_are_wanted_run_and_in_order():
    calls = []

    def tool(number: int, slow: bool):
        return Scripted(lambda q, d: calls.append(number) or Found(f"did {number}"), slow)

    run(errand(tool(1, True), tool(2, False), tool(3, True)))
    assert calls == [1, 2, 3]
    run(errand(tool(4, False), question="something else"))
    assert calls == [1, 2, 3]


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize(
    "error, words",
    [
        (StreamAssistError("No paper in it; put some in."), "No paper in it; put some in."),
        (RuntimeError("sk-secret"), "The tool 'test tool' failed (RuntimeError); I answer"),
        (TimeoutError(), "The tool 'test tool' failed (TimeoutError); I answer"),
    ],
)
def test_a_tool_that_fails_is_told_and_the_others_go_on(slow, error, words):
    def fail(question, desk):
        raise error

    one = errand(Scripted(fail, slow), Scripted(lambda q, d: Found("did", "well")))
    run(one)
    (trouble,) = one.troubles
    assert trouble.startswith(words) and "sk-secret" not in trouble
    assert one.used == ["did: well"]


def test_a_slow_tool_holds_nobody_up_and_is_given_up_in_the_end():
    clock, gate = ManualClock(), threading.Event()
    one = errand(Scripted(lambda q, d: gate.wait() and Found("late"), slow=True), clock=clock)
    begun = time.monotonic()
    assert not any(one.advance(lambda: None) for _ in range(20))
    assert time.monotonic() - begun < 5
    clock.now = TOOL_S
    assert one.advance(lambda: None)
    assert one.troubles == ["The tool 'test tool' took longer than 15 s; I answer without it."]
    gate.set()
    assert not one.found and one.advance(lambda: None)


def test_what_is_found_is_shown_told_and_bounded():
    many = [(i, i / 2) for i in range(200)]
    one = errand(
        Scripted(lambda q, d: Found("read the text", '"EXIT"', [(7, 3.5)])),
        Scripted(lambda q, d: Found("looked", frames=[(7, 3.5), *many])),
    )
    run(one)
    assert one.used == ['read the text: "EXIT"', "looked"]
    assert one.frames[:3] == [(7, 3.5), (0, 0.0), (1, 0.5)] and len(one.frames) == MAX_SHOWN
    ((told, _),) = one.as_turns()
    assert told.endswith('read the text: "EXIT"') and "no instructions" in told
    assert errand().as_turns() == []
