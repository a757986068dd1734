"""Rules on the disk: they survive, they go for good, and no trouble with a disk stops anything."""
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from places import ROOT
from streamassist.rules import RuleBook, RuleStore
from streamassist.rules import store as module

SECRET = "Ottokar enters the cellar"
TEXTS = (f"Tell me when {SECRET}", "in 5 minutes remind me to stir", "urgently tell me if it burns")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules" / "rules.sqlite"


def book_of(*texts: str) -> RuleBook:
    book = RuleBook()
    for text in texts:
        book.add(text, 0.0)
    return book


def saved(path: Path, *texts: str) -> RuleStore:
    store = RuleStore(path)
    store.save(book_of(*texts).rules)
    assert not store.fault
    return store


def bytes_in(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def texts_in(store: RuleStore) -> list[str]:
    return [row["text"] for row in store.load()]


# ---------------------------------------------------------------- they survive

def test_rules_survive_a_restart(path):
    saved(path, *TEXTS)
    store, book = RuleStore(path), RuleBook()
    assert book.load(store.load()) == 0 and not store.fault
    assert [rule.text for rule in book.rules] == list(TEXTS)
    assert book.rules[2].severity == "urgent" and book.rules[1].in_s == 300


def test_rules_survive_a_kill(path):
    """Saved, then killed without a chance to close anything."""
    code = f"""
import os, signal
from pathlib import Path
from streamassist.rules import RuleBook, RuleStore
book = RuleBook()
book.add({TEXTS[0]!r}, 0.0)
RuleStore(Path({str(path)!r})).save(book.rules)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    assert done.returncode == -9 and texts_in(RuleStore(path)) == [TEXTS[0]]


def test_it_writes_ahead_and_for_the_owner_alone(path):
    saved(path, *TEXTS)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        db.execute("BEGIN IMMEDIATE")    # brings the log into being
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        db.rollback()


def test_a_file_that_others_may_read_is_closed_to_them(path):
    saved(path, *TEXTS)
    path.chmod(0o644)
    RuleStore(path).load()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_saving_is_all_or_nothing(path):
    store = saved(path, *TEXTS)
    store.save(book_of("a cat").rules * 2)    # the second has the number of the first
    assert "could not be saved" in store.fault
    assert texts_in(RuleStore(path)) == list(TEXTS)


def test_nothing_is_made_where_nothing_is_saved(path):
    store = RuleStore(path)
    assert store.load() == [] and not store.fault and not path.parent.exists()


# ---------------------------------------------------------------- they go for good

def test_erased_rules_leave_no_bytes(path):
    store = saved(path, *TEXTS, *(f"thing {i} appears" for i in range(40)))
    assert SECRET.encode() in bytes_in(path.parent)
    store.erase()
    assert not store.fault and SECRET.encode() not in bytes_in(path.parent)
    assert b"appears" not in bytes_in(path.parent) and store.load() == []


def test_a_removed_rule_leaves_no_bytes(path):
    store, book = saved(path, *TEXTS), book_of(*TEXTS)
    book.remove(1)
    store.save(book.rules)
    assert SECRET.encode() not in bytes_in(path.parent) and len(store.load()) == 2


def test_what_is_removed_goes_also_where_sqlite_was_built_to_keep_it(path, monkeypatch):
    """And while another program has the file open, which keeps the log alive."""
    connect = sqlite3.connect

    def lax(*args, **options) -> sqlite3.Connection:
        db = connect(*args, **options)
        db.execute("PRAGMA secure_delete=OFF")
        return db

    monkeypatch.setattr(module.sqlite3, "connect", lax)
    store = saved(path, *(f"tell me when {SECRET} for the {i} time" for i in range(49)))
    with closing(connect(path)) as db:
        assert db.execute("SELECT count(*) FROM rules").fetchone() == (49,)
        store.save(book_of("a cat").rules)
        assert SECRET.encode() not in bytes_in(path.parent)


def test_what_a_reader_keeps_from_being_erased_is_told(path):
    store = saved(path, *TEXTS)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        assert db.execute("SELECT count(*) FROM rules").fetchone() == (3,)
        store.erase()
        assert "close that program and erase again" in store.fault
    store.erase()
    assert not store.fault and SECRET.encode() not in bytes_in(path.parent)


def test_a_damaged_file_is_erased_too(path):
    store = saved(path, *TEXTS)
    spoil(path)
    store.load()
    assert SECRET.encode() in bytes_in(path.parent)
    store.erase()
    assert SECRET.encode() not in bytes_in(path.parent) and not store.fault
    saved(path, *TEXTS)
    spoil(path)
    store.erase()
    assert SECRET.encode() not in bytes_in(path.parent) and "it is gone" in store.fault


# ---------------------------------------------------------------- bad disks

def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[:100] = b"\xff" * 100
    path.write_bytes(data)


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path):
    store = saved(path, *TEXTS)
    for _ in range(2):      # at most one is kept
        spoil(path)
        assert store.load() == []
        assert "was damaged; it was set aside as rules.sqlite.damaged" in store.fault
        store.save(book_of(TEXTS[0]).rules)
        assert not store.fault and texts_in(store) == [TEXTS[0]]
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, path.name + ".damaged"]


def test_a_page_damaged_in_the_middle_is_found(path):
    store = saved(path, *(f"tell me when thing {i} {'x' * 300} appears" for i in range(40)))
    data = bytearray(path.read_bytes())
    data[4096:8192] = os.urandom(4096)
    path.write_bytes(data)
    assert store.load() == [] and "damaged" in store.fault


def test_a_file_damaged_while_the_program_runs_costs_no_rule(path):
    store = saved(path, *TEXTS)
    spoil(path)
    store.save(book_of(*TEXTS).rules)
    assert "damaged" in store.fault and texts_in(RuleStore(path)) == list(TEXTS)


@pytest.mark.parametrize("body", [
    "{", "7", "[" * 10_000, b"\xff\xfe", None, 3.5, "x" * 100_000, '{"id": 1}',
])
def test_a_row_that_cannot_be_read_costs_itself_alone(path, body):
    store = saved(path, *TEXTS)
    with closing(sqlite3.connect(path)) as db, db:
        if body is None:
            db.execute("DELETE FROM rules WHERE id=2")
        else:
            db.execute("UPDATE rules SET body=? WHERE id=2", (body,))
    book = RuleBook()
    book.load(store.load())
    assert [rule.id for rule in book.rules] == [1, 3]
    assert bool(store.fault) == (body not in (None, '{"id": 1}'))


def test_a_locked_file_is_told_and_used_again_later(path):
    store = saved(path, TEXTS[0])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        store.save(book_of(*TEXTS).rules)
        assert "locked" in store.fault and "close the other program" in store.fault
    store.save(book_of(*TEXTS).rules)
    assert not store.fault and texts_in(store) == list(TEXTS)


def test_a_full_disk_is_told_and_what_was_saved_stays(path, monkeypatch):
    store = saved(path, *TEXTS)
    connect = sqlite3.connect

    def full(*args, **options) -> sqlite3.Connection:
        db = connect(*args, **options)
        db.execute("PRAGMA max_page_count=2")
        return db

    monkeypatch.setattr(module.sqlite3, "connect", full)
    store.save(book_of(*(f"thing {i} {'x' * 400}" for i in range(40))).rules)
    assert "full" in store.fault and "free some space" in store.fault
    monkeypatch.undo()
    assert texts_in(RuleStore(path)) == list(TEXTS)


def test_a_folder_that_cannot_be_used_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "rules.sqlite", tmp_path):
        store = RuleStore(path)
        store.save(book_of(*TEXTS).rules)
        assert str(path) in store.fault and "name another file" in store.fault
        assert store.load() == []
        store.erase()


def test_a_file_of_a_newer_version_is_left_as_it_is(path):
    store = saved(path, *TEXTS)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    assert store.load() == [] and "newer version" in store.fault
    store.save([])
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM rules").fetchone() == (3,)
