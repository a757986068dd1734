"""Watch rules on the disk: an SQLite file in write-ahead mode, so that they survive a restart.

No trouble with the disk stops the program: the rules stay in RAM, and `fault` tells what to mend.
Every call opens the file anew and leaves no connection behind, so any thread may call, one at a
time. What is removed is overwritten in the file, and the file's log is emptied.
"""
import errno
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from streamassist.rules.rule import Rule

SCHEMA = 1
WAIT_S = 0.25          # for another program that has the file open
MAX_BODY = 16_384      # characters of a rule in JSON
MAX_ROWS = 1000
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger(__name__)


class Newer(Exception):
    """The file is of a later version of this program."""


class RuleStore:
    """Rules in the file `path`, which only its owner may read. `fault`: what went wrong last, in a
    sentence; "" when all is well."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.fault = ""

    # ------------------------------------------------------------ calls

    def save(self, rules: Iterable[Rule]) -> None:
        """Put these in place of what is in the file, all of them or none."""
        rows = [(rule.id, json.dumps(rule.row())) for rule in rules]
        self._try(lambda: self._write(rows), "Watch rules could not be saved")

    def load(self) -> list[dict[str, Any]]:
        """The rows of all rules (see `Rule.row`), in the order they were made in; rows that cannot
        be read are left out, and `fault` says so."""
        return self._try(self._read, "Watch rules could not be read") or []

    def erase(self) -> None:
        """Remove every rule, and a damaged file that was set aside; the bytes are overwritten."""
        self._try(self._erase, "Watch rules could not be erased")

    # ------------------------------------------------------------ the file

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file, made when it is missing, with its table."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives its log the mode of the file, so the file is made before it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self.path.chmod(0o600)
        with closing(sqlite3.connect(self.path, timeout=WAIT_S)) as db:
            db.execute("PRAGMA secure_delete=ON")
            db.execute("PRAGMA journal_mode=WAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA:
                raise Newer
            if version < SCHEMA:
                db.execute(
                    "CREATE TABLE IF NOT EXISTS rules (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
                )
                db.execute(f"PRAGMA user_version={SCHEMA}")
            yield db

    def _write(self, rows: list[tuple[int, str]]) -> None:
        with self._open() as db:
            with db:
                db.execute("DELETE FROM rules")
                db.executemany("INSERT INTO rules VALUES (?, ?)", rows)
            _empty_log(db)   # it holds what was removed

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with self._open() as db:
            db.text_factory = bytes   # a row that is no text is left out alone
            bodies = db.execute(
                "SELECT substr(body, 1, ?) FROM rules ORDER BY id LIMIT ?", (MAX_BODY, MAX_ROWS)
            ).fetchall()
        rows = [row for (body,) in bodies if (row := _row(body)) is not None]
        if len(rows) < len(bodies):
            self._tell(f"{len(bodies) - len(rows)} watch rules in {self.path} could not be read "
                       "and are left out; add them again.")
        return rows

    def _erase(self) -> None:
        overwrite(self._aside)
        if not self.path.exists():
            return
        with self._open() as db:
            with db:
                db.execute("DELETE FROM rules")
            if not _empty_log(db):
                self._tell(f"Removed watch rules may still be read in {self.path}-wal, because "
                           "another program has it open; close that program and erase again.")

    # ------------------------------------------------------------ faults

    @property
    def _aside(self) -> Path:
        return self.path.with_name(self.path.name + ".damaged")

    def _try(self, work: Callable[[], Any], failure: str) -> Any:
        """Do it; a damaged file is set aside, and it is done once more with a new one."""
        self.fault = ""
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:   # of extended codes
                return self._begin_anew(work, failure)
            self._tell(f"{failure} ({error}); {_mend(error, self.path)}")
        except Newer:
            self._tell(f"{self.path} was written by a newer version of this program and is left "
                       "as it is; rules stay in RAM. Update the program, or name another file.")
        return None

    def _begin_anew(self, work: Callable[[], Any], failure: str) -> Any:
        try:
            overwrite(self._aside)   # one is enough to find out what happened
            os.replace(self.path, self._aside)
            for ending in ("-wal", "-shm"):
                overwrite(self.path.with_name(self.path.name + ending))
            result = work()
        except (sqlite3.Error, OSError) as error:
            self._tell(f"{failure} ({error}); {_mend(error, self.path)}")
            return None
        kept = f"it was set aside as {self._aside.name}" if self._aside.exists() else "it is gone"
        self._tell(f"The file of watch rules {self.path} was damaged; {kept} and a new one was "
                   "begun. Add the rules that are missing again.")
        return result

    def _tell(self, sentence: str) -> None:
        self.fault = sentence
        log.warning("%s", sentence)


def overwrite(path: Path) -> None:
    """Zeros over every byte of a file, then it goes; one that is not there is no trouble."""
    if not path.is_file() or path.is_symlink():
        return
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()


def _empty_log(db: sqlite3.Connection) -> bool:
    """Bring all into the file and cut its log to nothing; False when another reader prevents it."""
    (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _row(body: Any) -> dict[str, Any] | None:
    try:
        row = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _mend(error: Exception, path: Path) -> str:
    """What the user can do about it."""
    said = str(error)
    if "locked" in said:
        return f"close the other program that has {path} open. Until then rules stay in RAM."
    if "full" in said or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "free some space on that disk. Until then rules stay in RAM."
    return f"make {path} writable, or name another file. Until then rules stay in RAM."
