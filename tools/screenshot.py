"""`python -m tools.screenshot [--source CLIP] [--out docs/page.png]`: the picture in the README.

Starts the app with nano on the bundled sample (CC0), adds a watch rule, asks two questions, waits
for the answers and a further remark. Needs Chromium and playwright (`make setup-test`).
"""
import argparse
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from streamassist.errors import StreamAssistError
from tools.running import ROOT, running

SIZE = {"width": 1440, "height": 900}
SLOW_MS = 180_000
COLOURS = 256             # of the stored picture; its size is a third of that in full colour
QUESTIONS = ["What do you see?", "Is there a building?"]
MAX_BYTES = 400 << 10


def chromium() -> str:
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser"):
        if found := shutil.which(name):
            return found
    raise StreamAssistError("Chromium was not found; install it (apt-get install chromium).")


def talk(page: Page, questions: list[str], rule: str) -> None:
    """Use the page as a person does, until answers and two remarks stand in it."""
    expect(page.locator("#sa-link")).to_have_attribute("data-state", "on", timeout=SLOW_MS)
    page.get_by_label("Tell me when", exact=True).fill(rule)
    page.get_by_role("button", name="Add").click()
    page.mouse.move(0, 0)
    expect(page.locator("#sa-rules li").first).to_contain_text("checked", timeout=SLOW_MS)
    expect(page.locator("#sa-lane .remark").first).to_be_visible(timeout=SLOW_MS)
    for number, question in enumerate(questions, 1):
        page.get_by_label("Your question").fill(question)
        page.keyboard.press("Enter")
        answered = page.locator("#sa-feed .turn .fresh", has_text="first word")
        expect(answered).to_have_count(number, timeout=SLOW_MS)
    told = page.locator("#sa-lane .remark")
    expect(told.nth(max(1, told.count()))).to_be_visible(timeout=SLOW_MS)
    expect(page.locator("#sa-caption")).not_to_be_empty()
    page.locator("#sa-question").blur()


def take(url: str, out: Path, questions: list[str], rule: str) -> None:
    with sync_playwright() as driver:
        chrome = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = chrome.new_page(viewport=SIZE, color_scheme="light")
        page.goto(url)
        talk(page, questions, rule)
        store(page.screenshot(), out)
        chrome.close()


def store(png: bytes, out: Path) -> None:
    """With few colours, chosen so that the rare ones (orange, red) are kept."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1).save(out, optimize=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="sample", help="only clips that may be published")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page.png")
    parser.add_argument("--question", action="append", help="may be given several times")
    parser.add_argument("--rule", default="a dog appears")
    args = parser.parse_args(argv)
    flags = ("--model", "nano", "--source", args.source)
    try:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder), *flags) as app:
            take(app.url, args.out, args.question or QUESTIONS, args.rule)
    except StreamAssistError as error:
        print(error, file=sys.stderr)
        return 2
    size = args.out.stat().st_size
    print(f"{args.out}: {size >> 10} KB" + (", too large for the README" * (size > MAX_BYTES)))
    return int(size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
