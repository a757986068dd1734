"""--keep: nothing is written without it; with it, what, where, how much, and how it goes again."""
import logging
from pathlib import Path

import pytest

import app
from desk import BLUE, GREEN, RED, WHITE, Desk, frame
from streamassist.__main__ import main
from streamassist.archive import Archive
from streamassist.config import Config
from streamassist.errors import StreamAssistError
from streamassist.frames import jpeg
from streamassist.memory.base import MemoryPolicy
from streamassist.session import MAX_TOLD, PROTECT_EVERY, THUMBNAIL_SIDE
from streamassist.types import Answer, Forget, NewStream, Notice, Query, Stats

QUIET = "on_query"


def sentence(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that failed as it should."""
    told = capsys.readouterr()
    (line,) = told.err.strip().splitlines()
    assert code == 2 and told.out == "" and line.endswith(".")
    return line


class Used(MemoryPolicy):
    """A policy that notes what it was told, and holds what it is told to hold."""

    calls: list[tuple[Path, int]] = []
    holds: set[int] = set()
    asked = 0
    fault = ""

    def use_disk(self, folder: Path, disk_bytes: int) -> None:
        Used.calls.append((folder, disk_bytes))

    def reset(self) -> None:
        Used.calls.clear()   # what a new engine begins with would forget the pages

    def held_frames(self) -> set[int]:
        Used.asked += 1
        return Used.holds


@pytest.fixture
def used(monkeypatch) -> type[Used]:
    """`Used` as a memory policy of that name."""
    monkeypatch.setitem(app.memory.METHODS, "used", Used)
    for name, value in (("calls", []), ("holds", set()), ("asked", 0), ("fault", "")):
        monkeypatch.setattr(Used, name, value)
    return Used


def keeping(folder: Path, **more) -> Desk:
    """A desk whose pictures all go to files."""
    desk = Desk(config=Config(response=QUIET, keep=str(folder), **more))
    desk.session.archive.quota_bytes = 0
    return desk


def thumbnails(folder: Path) -> list[Path]:
    return sorted((folder / "thumbnails").glob("*.jpg"))


# ---------------------------------------------------------------- the flags

@pytest.mark.parametrize("flags, words", [
    (["--keep", ""], "--keep is empty; name a folder"),
    (["--keep", "  "], "--keep is empty"),
    (["--keep"], "--keep: expected one argument"),
    (["--keep-mb", "0"], "--keep-mb must be between 1 and 1000000, not 0"),
    (["--keep-mb", "1000001"], "--keep-mb must be between"),
    (["--keep-mb", "1.5"], "--keep-mb: invalid int"),
])
def test_a_wrong_flag_is_named(flags, words, capsys):
    assert words in sentence(app.run(lambda: app.parse_flags(flags)), capsys)
    assert words in sentence(main(["replay", "x.mp4", *flags]), capsys)


def test_the_quota_is_shared_out(tmp_path):
    config = app.parse_flags(["--keep", str(tmp_path), "--keep-mb", "20"])
    assert config.kept("thumbnails") == (tmp_path / "thumbnails", 2_000_000)
    assert config.kept("pages") == (tmp_path / "pages", 18_000_000)
    assert app.parse_flags([]).kept("pages") == (None, 0)
    assert Config(keep="~/x").kept("pages")[0] == Path.home() / "x" / "pages"


@pytest.mark.parametrize("where", [
    "file", "file/below", "zero\0byte", "x" * 300, "~nobody-of-that-name/x", "/proc/here",
    "full",
])
def test_a_folder_that_cannot_be_written_is_told_before_the_model_is_loaded(
    where, tmp_path, capsys, monkeypatch
):
    import models

    monkeypatch.setattr(models, "load", lambda *a, **k: pytest.fail("the model was loaded"))
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/pages").write_text("a file in the way")
    code = app.run(lambda: app.build(Config(model="fake", keep=where)))
    told = sentence(code, capsys)
    assert told.startswith("--keep") and "name another folder" in told
    assert Path("file").read_text() == "mine"


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a disk that is always full"
)
def test_a_disk_that_is_full_already_is_told(tmp_path, capsys, monkeypatch):
    full = lambda **_: open("/dev/full", "wb", buffering=0)   # noqa: E731  (as tempfile is called)
    monkeypatch.setattr(app.tempfile, "TemporaryFile", full)
    code = app.run(lambda: app.build(Config(model="fake", keep=str(tmp_path))))
    assert "cannot be written (No space left on device)" in sentence(code, capsys)


def test_replay_tells_it_too(tiny_video, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    code = main(["replay", str(tiny_video), "--model", "fake", "--keep", str(tmp_path / "file")])
    assert "cannot be written" in sentence(code, capsys)


def test_the_folder_is_the_users_own(tmp_path):
    app.prepare_folders(Config(keep=str(tmp_path / "kept")))
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert list((tmp_path / "kept" / "thumbnails").iterdir()) == []


# ---------------------------------------------------------------- who gets what

def test_the_memory_gets_its_folder_after_the_engine_was_made(used, tmp_path):
    keep = {"keep": str(tmp_path), "keep_mb": 10}
    made = app.build(Config(model="fake", memory="used", response=QUIET, **keep))
    session = made.make_session(lambda event: None)
    assert used.calls == [(tmp_path / "pages", 9_000_000)]
    assert session.archive.folder == tmp_path / "thumbnails"
    assert session.archive.disk_bytes == 1_000_000


def test_without_the_flag_nothing_is_written(used, tiny_video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("streamassist.archive.write_whole", lambda *a: pytest.fail("written"))
    monkeypatch.setattr("streamassist.session.THUMBNAIL_BYTES", 0)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["replay", str(tiny_video), "--model", "fake", "--memory", "used"]) == 0
    assert used.calls == [] and sorted(tmp_path.rglob("*")) == before


def test_a_replay_with_the_flag_leaves_its_pictures(tiny_video, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("streamassist.session.THUMBNAIL_BYTES", 0)
    kept = tmp_path / "kept"
    assert main(["replay", str(tiny_video), "--model", "fake", "--keep", str(kept)]) == 0
    assert len(thumbnails(kept)) == 4
    assert main(["replay", str(tiny_video), "--model", "fake", "--keep", str(kept)]) == 0
    assert len(thumbnails(kept)) == 4, "those of the first were erased"


# ---------------------------------------------------------------- a conversation

def test_evidence_is_shown_from_the_disk(tmp_path):
    desk = keeping(tmp_path)
    desk.watch(RED, GREEN)
    desk.submit(Query("What?"))
    desk.talk()
    desk.watch(*[WHITE] * 30)
    (seen,) = desk.of(Answer)[0].evidence
    shown = desk.session.archive.get(seen["frame"])
    assert shown.startswith(b"\xff\xd8") and shown != desk.session.archive.get(0)
    sizes = sum(path.stat().st_size for path in thumbnails(tmp_path))
    figures = Stats(t=0.0, wall=0.0, **desk.session.figures()).line()["extra"]["archive"]
    assert figures == {"ram": 0, "disk": sizes, "dropped": 0} and len(thumbnails(tmp_path)) == 32


@pytest.mark.parametrize("minutes, left", [(1 / 60, 5), (None, 0)])
def test_forgotten_pictures_leave_no_bytes(tmp_path, minutes, left):
    """Frames at 0, 0.5, ... 3.5 s; read through files that were open before."""
    desk = keeping(tmp_path)
    desk.watch(RED, WHITE, RED, WHITE, GREEN, GREEN, BLUE, BLUE)
    opened = [path.open("rb") for path in thumbnails(tmp_path)]
    desk.submit(Forget(minutes=minutes))
    found = [file.read() for file in opened]
    for file in opened:
        file.close()
    assert len(found) == 8 and [any(data) for data in found] == [True] * left + [False] * (8 - left)
    assert len(thumbnails(tmp_path)) == left and not desk.of(Notice)


def test_a_bad_disk_is_told_once_and_the_stream_goes_on(tmp_path, monkeypatch, caplog):
    desk = keeping(tmp_path)
    desk.watch(RED, RED)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streamassist.archive.write_whole", full)
    with caplog.at_level(logging.WARNING):
        desk.watch(*[GREEN] * 20)
    (notice,) = desk.of(Notice)
    assert "the disk is full" in notice.text and caplog.messages == [notice.text]
    assert notice in desk.session.transcript, "pages that come back see it"
    assert desk.session.figures()["extra"]["archive"]["dropped"] == 20
    desk.submit(Query("What?"))
    desk.talk()
    assert desk.of(Answer)[0].text == "I see a dark green picture."


def test_a_fault_of_the_memory_is_told_and_so_is_another_one(tmp_path, used):
    desk = Desk(config=Config(response=QUIET, memory="used"))
    for fault in ("", "A page is damaged.", "A page is damaged.", "The disk is full."):
        desk.session.engine.memory.fault = fault
        desk.watch(RED)
    assert [n.text for n in desk.of(Notice)] == ["A page is damaged.", "The disk is full."]
    for i in range(3 * MAX_TOLD):
        desk.session.engine.memory.fault = f"Page {i} is damaged."
        desk.watch(RED)
    assert len(desk.of(Notice)) == MAX_TOLD


def test_old_evidence_still_names_its_own_picture_after_a_new_stream():
    desk = Desk()
    desk.watch(RED)
    desk.submit(Query("What?"))
    desk.talk()
    (seen,) = desk.of(Answer)[0].evidence
    desk.submit(NewStream())
    desk.watch(GREEN)
    red, green = desk.session.archive.get(seen["frame"]), desk.session.archive.get(1)
    assert red and green and red != green


def test_what_could_not_be_erased_is_told_at_once(tmp_path, monkeypatch):
    desk = keeping(tmp_path)
    desk.watch(RED)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("streamassist.archive.overwrite_file", refuse)
    desk.submit(Forget())
    assert "could not be erased" in desk.of(Notice)[0].text


def test_pictures_that_are_or_may_be_cited_outlive_others(used):
    size = len(jpeg(frame(RED, 0).image, THUMBNAIL_SIDE))
    desk = Desk(config=Config(response=QUIET, memory="used"))
    desk.session.archive = Archive(40 * size)
    used.holds = {5, 6}
    desk.watch(*[RED] * 3)
    desk.submit(Query("What?"))
    desk.talk()
    desk.watch(*[RED] * 97)
    assert desk.of(Answer)[0].evidence[0]["frame"] == 2
    there = [i for i in range(100) if desk.session.archive.get(i)]
    assert there[:3] == [2, 5, 6] and there[3:] == list(range(63, 100))
    assert used.asked == 100 // PROTECT_EVERY


def test_a_path_of_nobody_is_told_wherever_it_is_asked_for():
    with pytest.raises(StreamAssistError, match="no such user"):
        Config(keep="~nobody-of-that-name").kept("pages")
