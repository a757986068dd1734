"""The outbox: text in order and never lost, counters newest only, a slow page is told to go."""
import asyncio
import threading

import pytest

from ui.outbox import Outbox, TooSlow


def delta(turn: int, text: str) -> dict:
    return {"type": "text_delta", "turn": turn, "text": text}


def test_text_keeps_its_order_and_waiting_pieces_of_one_answer_are_joined() -> None:
    async def main() -> list:
        box = Outbox(asyncio.get_running_loop())
        notice = {"type": "notice"}
        for line in (delta(1, "a"), delta(1, " b"), notice, delta(1, "c"), delta(2, "d")):
            box.put(line)
        return await box.take()

    lines = asyncio.run(main())
    assert [line.get("text") for line in lines] == ["a b", None, "c", "d"]


def test_only_the_newest_counter_waits() -> None:
    async def main() -> list:
        box = Outbox(asyncio.get_running_loop())
        for n in range(5):
            box.put_newest("stats", {"type": "stats", "n": n})
        box.put_newest("preview", b"x")
        return await box.take()

    assert asyncio.run(main()) == [{"type": "stats", "n": 4}, b"x"]


def test_too_much_text_is_an_error_and_counters_never_are() -> None:
    async def main(lines: int) -> list:
        box = Outbox(asyncio.get_running_loop(), max_lines=3)
        for _ in range(lines):
            box.put({"type": "notice"})
            box.put_newest("stats", {"type": "stats"})
        return await box.take()

    assert len(asyncio.run(main(3))) == 4
    with pytest.raises(TooSlow):
        asyncio.run(main(4))


def test_nothing_is_lost_between_threads() -> None:
    async def main() -> list[int]:
        box, got = Outbox(asyncio.get_running_loop(), max_lines=5000), []
        writer = threading.Thread(
            target=lambda: [box.put({"type": "notice", "n": n}) for n in range(5000)]
        )
        writer.start()
        while len(got) < 5000:
            got += [item["n"] for item in await box.take()]
        return got

    assert asyncio.run(asyncio.wait_for(main(), 10)) == list(range(5000))


def test_putting_after_the_loop_is_gone_is_harmless() -> None:
    async def main() -> Outbox:
        return Outbox(asyncio.get_running_loop())

    box = asyncio.run(main())
    box.put({"type": "notice"})
    box.put_newest("stats", {"type": "stats"})
