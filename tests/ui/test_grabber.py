"""What the page's worker does with single pictures: in a real Chromium, without a camera."""
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from browsers import opened
from fake_backend import FakeBackend
from served import serving

pytestmark = pytest.mark.browser

# A worker, pictures for it, and what it answered: "jpeg", "same", "late".
BENCH = """
class Bench {
  constructor(plan) {
    this.heard = [];
    this.worker = new Worker("/page/grabber.js");
    this.worker.onmessage = ({ data }) => { this.heard.push(data); this.wake?.(); };
    this.tell({ plan: { side: 240, fps: 4, quality: 0.8, refresh_s: 10, ...plan } });
  }
  tell(message) { this.worker.postMessage(message); }
  paint(draw, width = 320, height = 240) {
    const canvas = new OffscreenCanvas(width, height);
    const pen = canvas.getContext("2d");
    pen.fillStyle = "rgb(100, 110, 120)";
    pen.fillRect(0, 0, width, height);
    draw?.(pen);
    return canvas.transferToImageBitmap();
  }
  async until(found, from = 0) {
    for (;;) {
      const hit = this.heard.slice(from).find(found);
      if (hit) return hit;
      await new Promise((wake) => { this.wake = wake; });
    }
  }
  async take(draw, width, height) {
    const from = this.heard.length;
    const bitmap = this.paint(draw, width, height);
    this.worker.postMessage({ bitmap, at: Date.now() }, [bitmap]);
    const answer = await this.until((m) => m.jpeg || m.same, from);
    if (answer.jpeg) this.tell({ acked: 1 });
    return answer;
  }
  async kind(draw) { return (await this.take(draw)).same ? "same" : "jpeg"; }
}
const noise = (spread) => (pen) => {
  const image = pen.getImageData(0, 0, 320, 240), levels = image.data;
  const roll = (level, i) => (i % 4 < 3 ? level + (2 * Math.random() - 1) * spread : level);
  levels.set(levels.map(roll));
  pen.putImageData(image, 0, 0);
};
const block = (colour, x, y, side) => (pen) => {
  pen.fillStyle = colour;
  pen.fillRect(x, y, side, side);
};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
"""


@pytest.fixture(scope="module")
def bench_page(chrome: Browser) -> Iterator[Page]:
    with serving(FakeBackend(remark_s=1e9)) as served, opened(chrome, served) as page:
        yield page


def run(page: Page, body: str) -> Any:
    """The value that the body of an async function returns, with `BENCH` before it."""
    return page.evaluate(f"async () => {{ {BENCH} {body} }}")


def test_noise_is_no_change_and_a_small_thing_is(bench_page: Page) -> None:
    assert run(bench_page, """
        const bench = new Bench();
        const small = block("rgb(160,170,180)", 150, 100, 6), kinds = [];
        for (const draw of [noise(12), noise(12), noise(12), small, null]) {
          kinds.push(await bench.kind(draw));
        }
        return kinds;
    """) == ["jpeg", "same", "same", "jpeg", "jpeg"]


def test_a_light_that_turns_from_red_to_green_is_a_change(bench_page: Page) -> None:
    """Both are equally bright in grey."""
    assert run(bench_page, """
        const bench = new Bench();
        const [red, green] = ["rgb(200,60,60)", "rgb(60,131,60)"].map((c) => block(c, 100, 60, 12));
        return [await bench.kind(red), await bench.kind(red), await bench.kind(green)];
    """) == ["jpeg", "same", "jpeg"]


def test_a_slow_drift_adds_up(bench_page: Page) -> None:
    """Each picture differs by one level from the one before, which nobody would notice."""
    kinds = run(bench_page, """
        const bench = new Bench(), kinds = [];
        for (let i = 0; i < 24; i += 1) {
          kinds.push(await bench.kind(block(`rgb(${100 + i},110,120)`, 0, 0, 320)));
        }
        return kinds;
    """)
    assert kinds.count("jpeg") == 4 and kinds[0] == kinds[6] == kinds[12] == "jpeg"


def test_an_unchanged_picture_is_sent_anew_in_time(bench_page: Page) -> None:
    assert run(bench_page, """
        const bench = new Bench({ refresh_s: 0.6, fps: 10 });
        const first = [await bench.kind(), await bench.kind()];
        await wait(650);
        const always = new Bench({ refresh_s: 0 });
        return [...first, await bench.kind(), await always.kind(), await always.kind()];
    """) == ["jpeg", "same", "jpeg", "jpeg", "jpeg"]


def test_what_never_arrived_is_not_compared_with(bench_page: Page) -> None:
    assert run(bench_page, """
        const bench = new Bench(), kinds = [await bench.kind()];
        bench.tell({ unsent: 1000 });
        kinds.push(await bench.kind(), await bench.kind());
        bench.tell({ reset: true });
        return [...kinds, await bench.kind()];
    """) == ["jpeg", "jpeg", "same", "jpeg"]


@pytest.mark.parametrize("width, height, side, expected", [
    (640, 480, 288, (384, 288)), (1920, 1080, 288, (512, 288)), (480, 640, 288, (288, 384)),
    (160, 120, 288, (160, 120)), (4000, 40, 40, (160, 2)),
])
def test_the_shorter_side_is_what_was_asked_for(
    bench_page: Page, width: int, height: int, side: int, expected: tuple[int, int]
) -> None:
    size = run(bench_page, f"""
        const bench = new Bench({{ side: {side} }});
        const answer = await bench.take(null, {width}, {height});
        const image = await createImageBitmap(new Blob([answer.jpeg], {{ type: "image/jpeg" }}));
        return [image.width, image.height];
    """)
    assert tuple(size) == expected


def test_hostile_plans_are_clamped_or_left_out(bench_page: Page) -> None:
    """The page refuses such numbers; the worker bears them all the same."""
    sizes = run(bench_page, """
        const bench = new Bench(), sizes = [];
        const plans = [
          { side: NaN, fps: NaN, quality: NaN, refresh_s: 0 }, { side: "9", fps: null },
          { side: -5, fps: -1, quality: -1 }, { side: 1e9, fps: 1e9, quality: 1e9 },
        ];
        for (const plan of plans) {
          bench.tell({ plan });
          const answer = await bench.take(noise(40), 320, 240);
          const image = await createImageBitmap(new Blob([answer.jpeg], { type: "image/jpeg" }));
          sizes.push(image.height);
        }
        return sizes;
    """)
    assert sizes == [240, 240, 16, 240]


def test_a_picture_that_waited_too_long_in_the_page_is_dropped(bench_page: Page) -> None:
    assert run(bench_page, """
        const bench = new Bench();
        await bench.take(noise(40));
        const old = bench.paint(noise(40));
        bench.worker.postMessage({ bitmap: old, at: Date.now() - 1500 }, [old]);
        const { counts } = await bench.until((m) => m.counts?.late);
        return [counts.late, bench.heard.filter((m) => m.jpeg).length];
    """) == [1, 1]


def test_two_at_most_are_under_way_and_the_rest_is_dropped(bench_page: Page) -> None:
    """Nothing is acknowledged for a while; then the newest goes, not those that were missed."""
    before, counts, after = run(bench_page, """
        const bench = new Bench({ fps: 10 });
        const numbers = [];
        bench.worker.addEventListener("message", ({ data }) => {
          if (!data.wanted) return;
          const bitmap = bench.paint(noise(40));
          bench.worker.postMessage({ bitmap, at: Date.now() }, [bitmap]);
        });
        bench.tell({ timer: true });
        const all = () => bench.heard.filter((m) => m.jpeg).length;
        const { counts } = await bench.until((m) => m.counts);
        const before = all();
        bench.tell({ acked: 1 });
        await wait(600);
        const after = all();
        bench.tell({ stop: true });
        return [before, counts, after];
    """)
    assert (before, after) == (2, 3)
    assert counts["sent"] == 2 and 3 <= counts["late"] <= 10


def test_counts_add_up(bench_page: Page) -> None:
    counts, bytes_sent = run(bench_page, """
        const bench = new Bench();
        const { counts: empty } = await bench.until((m) => m.counts);
        const from = bench.heard.length;
        const answers = [await bench.take(), await bench.take(), await bench.take(noise(40))];
        const { counts } = await bench.until((m) => m.counts, from);
        return [counts, answers.reduce((sum, a) => sum + (a.jpeg?.byteLength ?? 0), 0)];
    """)
    assert (counts["sent"], counts["same"], counts["late"]) == (2, 1, 0)
    assert counts["bytes"] == bytes_sent and 0.5 < counts["seconds"] < 3
    assert 0 < counts["round_trip_s"] < 1 and (counts["width"], counts["height"]) == (320, 240)
