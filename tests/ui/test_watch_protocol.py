"""What pages ask about rules and quietness, over the socket: types, ranges, and who is told."""
import json
from collections.abc import Iterator
from typing import Any

import pytest

from fake_backend import FakeBackend
from served import Served, serving, wait_for
from streamassist.types import (
    AddRule,
    Configure,
    EditRule,
    Forgotten,
    Rate,
    TryRule,
    Why,
)
from ui.hub import MAX_WHYS


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    with serving(FakeBackend(remark_s=1e9, why_s=1e9)) as served:
        yield served


@pytest.fixture
def served(shared: Served) -> Served:
    shared.backend.commands.clear()
    shared.backend.typing.clear()
    return shared


def why(t: float) -> Why:
    return Why(t, 1000.0 + t, t - 1, "silent", "nothing new enough", 2, 0.3, 0.7, {"change": 0.3})


def test_what_is_asked_reaches_the_assistant(served: Served) -> None:
    changes = {"dwell_s": 3, "once": True, "severity": "urgent", "actions": ["sound", "speech"]}
    with served.page() as page:
        page.send("add_rule", text="Tell me when a dog appears")
        page.send("edit_rule", rule_id=1, changes=changes)
        page.send("edit_rule", rule_id=1, snooze_s=600)
        page.send("try_rule", text="Tell me when a cat sleeps", minutes=0.1)
        page.send("try_rule", text=" Tell me when a cat sleeps ")
        page.send("configure", remarks_per_minute=3)
        page.send("rate", t=12.5, good=False)
        lines = page.until("configured") + page.until("notice")
    assert served.backend.commands == [
        AddRule("Tell me when a dog appears"), EditRule(1, changes), EditRule(1, {}, 600.0),
        TryRule("Tell me when a cat sleeps", 0.1), TryRule("Tell me when a cat sleeps"),
        Configure(remarks_per_minute=3.0), Rate(12.5, False),
    ]
    tried = [line for line in lines if line["type"] == "rule_tried"]
    assert len(tried) == 2 and len(tried[0]["times"]) == 3 and tried[0]["checked"] >= 0
    rows = [line["rules"] for line in lines if line["type"] == "rules"][-1]
    assert rows[0]["severity"] == "urgent" and rows[0]["state"] == "snoozed"


def refused(kind: str, words: str, **fields: Any) -> Any:
    return pytest.param(json.dumps({"type": kind, **fields}), words, id=f"{kind}-{fields}"[:60])


def edit(words: str, **fields: Any) -> Any:
    return refused("edit_rule", words, **{"rule_id": 1, **fields})


@pytest.mark.parametrize("text, words", [
    refused("edit_rule", "no number"),
    edit("no number", rule_id=True),
    edit("no number", rule_id="1"),
    refused("remove_rule", "no number", rule_id=True),
    edit("at most 16", changes=["once"]),
    edit("at most 16", changes={f"name{i}": 1 for i in range(17)}),
    edit("name of 1 to 40", changes={"": 1}),
    edit("name of 1 to 40", changes={"x" * 41: 1}),
    edit("dwell_s is a number", changes={"dwell_s": None}),
    edit("dwell_s is a number", changes={"dwell_s": {"s": 3}}),
    edit("dwell_s is a number", changes={"dwell_s": float("nan")}),
    edit("dwell_s is a number", changes={"dwell_s": float("inf")}),
    edit("actions is a number", changes={"actions": [1, 2]}),
    edit("actions is a number", changes={"actions": ["sound"] * 17}),
    edit("actions is a number", changes={"actions": ["x" * 41]}),
    edit("schedule is a number", changes={"schedule": "x" * 4001}),
    edit("sleeps", snooze_s=-1),
    edit("sleeps", snooze_s=True),
    edit("sleeps", snooze_s="10"),
    edit("sleeps", snooze_s=10**400),
    edit("sleeps", snooze_s=7 * 86_400 + 1),
    refused("try_rule", "must be text", minutes=10),
    refused("try_rule", "must be text", text=["a dog"]),
    refused("try_rule", "0.1 to 1440", text="a dog", minutes=0),
    refused("try_rule", "0.1 to 1440", text="a dog", minutes=1441),
    refused("try_rule", "0.1 to 1440", text="a dog", minutes="10"),
    refused("try_rule", "0.1 to 1440", text="a dog", minutes=float("nan")),
    refused("rate", "no time", good=True),
    refused("rate", "no time", t="now", good=True),
    refused("rate", "no time", t=float("inf"), good=True),
    refused("rate", "good or not", t=1.0),
    refused("rate", "good or not", t=1.0, good=1),
    refused("user_speaking", "speaking or not"),
    refused("user_speaking", "speaking or not", speaking="yes"),
    refused("configure", "between 0.1 and 30", remarks_per_minute=0),
    refused("configure", "between 0.1 and 30", remarks_per_minute=31),
    refused("configure", "between 0.1 and 30", remarks_per_minute=True),
    refused("configure", "between 0 and 1", threshold=True),
    refused("forget", "are a number", minutes=10**400),
])
def test_what_has_no_sense_is_refused_and_nothing_else_is_lost(
    served: Served, text: str, words: str
) -> None:
    with served.page() as page:
        page.socket.send(text)
        page.send("rate", t=1.0, good=True)
        lines = page.until("notice")
    sentences = [line["text"] for line in lines if line["type"] == "refused"]
    assert len(sentences) == 1 and words in sentences[0] and sentences[0].endswith(".")
    assert served.backend.commands == [Rate(1.0, True)] and not served.backend.typing


def test_what_the_assistant_refuses_is_told_with_its_sentence(served: Served) -> None:
    with served.page() as page:
        page.send("edit_rule", rule_id=99, changes={"once": True})
        refusal = page.until("refused")[-1]
    assert "no rule number 99" in refusal["text"] and refusal["command"] == "edit_rule"


def test_all_pages_are_told_how_many_remarks_there_may_be(served: Served) -> None:
    with served.page("a") as a, served.page("b") as b:
        a.send("configure", remarks_per_minute=12)
        line = b.until("configured")[-1]
    assert line == {"type": "configured", "commentary": None, "threshold": None,
                    "remarks_per_minute": 12.0}


def test_whoever_goes_away_while_typing_is_not_waited_for(served: Served) -> None:
    with served.page("a") as a, served.page("b") as b:
        b.send("user_speaking", speaking=True)
        b.send("user_speaking", speaking=False)
        a.send("user_speaking", speaking=True)
        wait_for(lambda: len(served.backend.typing) == 3)
        b.socket.close()
        a.socket.close()
        wait_for(lambda: len(served.backend.typing) == 4)
    assert sorted(served.backend.typing) == [False, False, True, True]
    assert served.backend.typing[-1] is False


def test_a_page_that_joins_is_told_the_last_reasons_and_no_forgotten_one(served: Served) -> None:
    for i in range(MAX_WHYS + 5):
        served.backend.emit(why(float(i)))
    with served.page() as page:
        whys = page.hello["whys"]
        assert [line["t"] for line in whys] == [5.0 + i for i in range(MAX_WHYS)]
        assert "why" not in {line["type"] for line in page.hello["history"]}
    served.backend.emit(Forgotten(64.0, 1064.0, since=60.0))
    with served.page() as page:
        assert [line["t"] for line in page.hello["whys"]][-2:] == [58.0, 59.0]
    served.backend.emit(Forgotten(64.0, 1064.0))
    with served.page() as page:
        assert page.hello["whys"] == []
