"""The needles' scores as a picture: a row a policy."""
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.needle_table import Estimate

LEFT, WIDE, ROW, TOP = 210, 420, 18, 40
INK, PALE, PAST = "#444", "#ccc", "#1769aa"


def svg(rows: Sequence[tuple[str, "Estimate | None", "Estimate | None"]]) -> str:
    """rows: (name, past score: full dot with its interval, score now: open dot)."""
    shapes, height = [], TOP + ROW * len(rows) + 20
    for tick in (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        shapes.append(bar(tick, TOP - 8, tick, height - 20, INK if tick == 0 else PALE))
        shapes.append(text(across(tick), TOP - 14, f"{tick:.1f}", "middle"))
    for i, (name, past, now) in enumerate(rows):
        y = TOP + ROW * (i + 0.5)
        shapes.append(text(LEFT - 12, y + 4, name, "end"))
        if past:
            shapes += [bar(past.low, y, past.high, y, PAST), dot(past.value, y, PAST)]
        if now:
            shapes.append(dot(now.value, y, "none"))
    shapes.append(text(LEFT, 14, "score: past (full, 95 % interval) and now (open)", "start"))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 30} {height}" '
            'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" '
            'fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n")


def across(score: float) -> float:
    return LEFT + WIDE * (min(1.0, max(-0.3, score)) + 0.3) / 1.3


def bar(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (f'<line x1="{across(x1):.1f}" y1="{y1:.1f}" x2="{across(x2):.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"/>')


def dot(score: float, y: float, fill: str) -> str:
    return f'<circle cx="{across(score):.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{INK}"/>'


def text(x: float, y: float, words: str, anchor: str) -> str:
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{words}</text>'
