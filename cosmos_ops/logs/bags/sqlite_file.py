"""ROS 2 bags in SQLite (`.db3`): tables `topics` and `messages`. Opened so that SQLite writes nothing beside the file."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cosmos_ops.logs.bags.storage import MOST_CHUNK_BYTES, Channel, Damaged, Message, Wanted, plain_name, plain_schema

_TOPICS = "SELECT id, name, type, serialization_format FROM topics ORDER BY id"
_MESSAGES = "SELECT id, topic_id, timestamp, CASE WHEN topic_id IN ({wanted}) AND length(data) <= {most} THEN data END FROM messages ORDER BY id"
_PAYLOAD = "SELECT CASE WHEN length(data) <= {most} THEN data END FROM messages WHERE id = ?"
_NOTHING = bytes(16)


class SqliteFile:
    """See `storage.Storage`. A place is (0, row). Raises `Damaged` for a database that is no bag."""

    def __init__(self, path: Path):
        self.kind = "ros2 sqlite3"
        self.facts: dict[str, str] = {}
        self.damage: list[str] = []
        journal = path.with_name(path.name + "-wal")
        if journal.exists() and journal.stat().st_size:
            merge = f"sqlite3 {path.name} 'PRAGMA wal_checkpoint(TRUNCATE)'"
            self.damage.append(f"what {journal.name} holds is not in the database yet and is left out (in a copy, run {merge})")
        self._page_bytes, self._cut = _header(path)
        if self._cut:
            self.damage.append("the file is cut short: it holds fewer bytes than its header says")
        try:
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise Damaged(_reason(error)) from None
        try:
            self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_CHUNK_BYTES)  # nothing larger is made or read, whatever the schema says
            # Without it SQLite refuses a file that is shorter than its header says; with it the rows before the cut can be read.
            self._db.execute("PRAGMA writable_schema = ON")
            self._db.execute("PRAGMA trusted_schema = OFF")
            tables = self._db.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('topics', 'messages')").fetchone()[0]
            if tables != 2:
                raise Damaged("; ".join(["the database has no tables `topics` and `messages`, so it is no bag", *self.damage]))
            self._channels = {
                int(row[0]): Channel(plain_name(str(row[1])), plain_schema(str(row[2])), plain_name(str(row[3]))) for row in self._db.execute(_TOPICS)
            }
        except (sqlite3.Error, TypeError, ValueError) as error:
            self._db.close()
            raise Damaged(_reason(error)) from None
        except Damaged:
            self._db.close()
            raise

    def __enter__(self) -> "SqliteFile":
        return self

    def __exit__(self, *exception) -> None:
        self._db.close()

    def walk(self, wanted: Wanted) -> Iterator[Message]:
        numbers = ", ".join(str(number) for number, channel in self._channels.items() if wanted(channel))
        last, cursor = None, self._db.cursor()
        try:
            for row, topic, log_ns, data in cursor.execute(_MESSAGES.format(wanted=numbers, most=MOST_CHUNK_BYTES)):
                if not isinstance(row, int) or (last is not None and row <= last):
                    raise sqlite3.DatabaseError("rows are not in order")
                last, channel = row, self._channels.get(topic)
                if channel is not None and isinstance(log_ns, int):
                    yield Message(channel, log_ns, (0, row), self._sound(data))
        except (sqlite3.Error, OverflowError) as error:
            self.damage.append(f"the database is damaged ({_reason(error)}); rows after the damage are lost")
        finally:
            cursor.close()

    def _sound(self, data) -> bytes | None:
        """SQLite fills what a file's cut took from its last page with zeros: a large message that ends in them may have lost its end."""
        if not isinstance(data, bytes) or (self._cut and len(data) > self._page_bytes and data.endswith(_NOTHING)):
            return None
        return data

    def payload(self, place: tuple[int, int]) -> bytes:
        try:
            found = self._db.execute(_PAYLOAD.format(most=MOST_CHUNK_BYTES), (place[1],)).fetchone()
        except sqlite3.Error as error:
            raise Damaged(_reason(error)) from None
        if found is None or self._sound(found[0]) is None:
            raise Damaged(f"row {place[1]} is gone")
        return found[0]


def _header(path: Path) -> tuple[int, bool]:
    """(bytes a page, whether the file is shorter than it should be). https://www.sqlite.org/fileformat.html#the_database_header"""
    with open(path, "rb") as file:
        head = file.read(100)
    if len(head) < 100:
        return 0, True
    page_bytes, changes, pages, valid_for = (int.from_bytes(head[start:stop]) for start, stop in ((16, 18), (24, 28), (28, 32), (92, 96)))
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    return page_bytes, changes == valid_for and path.stat().st_size < pages * page_bytes


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
