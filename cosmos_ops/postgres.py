"""PostgreSQL by its address: what of it may be shown, the form SQLAlchemy takes, whether it answers, and one process at a time when a database is opened.

A password is part of an address, so no message here holds one.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from cosmos_ops.errors import UserError

_TIMEOUT_S = 5
_LOCK_TIMEOUT_MS = 120_000
_LOCK = 0x636F736D
"""Number of the advisory lock that everybody who opens a database of the project takes."""
_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with / @ : % and spaces of the password written as %2F %40 %3A %25 %20"


def is_postgres(address: str) -> bool:
    """Whether an address names a PostgreSQL database."""
    return _SCHEME.match(address) is not None


def for_sqlalchemy(address: str) -> str:
    """The address with psycopg2 as its driver, any other address as it is.

    `postgresql://` alone means psycopg 3 to SQLAlchemy 2.1, and with that Dagster's webserver loses its connection.
    """
    return _SCHEME.sub("postgresql+psycopg2://", address, count=1)


def without_password(address: str) -> str:
    """What of an address may be shown: no password, and of PostgreSQL no options; an address of a file is shown whole."""
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.startswith(("sqlite", "file")):
        return address
    if is_postgres(address):
        rest = rest.partition("?")[0]
    login, at, place = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}@{place}" if at else f"{scheme}://{rest}"


def place(address: str) -> str:
    """User, host, port and database of an address of PostgreSQL, for a sentence."""
    return without_password(address).partition("://")[2]


def has_password(address: str) -> bool:
    """Whether an address holds what must not be stored."""
    return without_password(address) != address


def hide_password(text: str, address: str) -> str:
    """A message of somebody else's without the address's password in either spelling."""
    login = address.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    for spelling in {password, unquote(password)} - {""}:
        text = text.replace(spelling, "***")
    return text.replace(address, without_password(address))


def same_database(first: str, second: str) -> bool:
    """Whether two addresses name one PostgreSQL database."""
    if not is_postgres(first) or not is_postgres(second):
        return False
    hosts = [place(address).rpartition("@")[2].replace("localhost", "127.0.0.1") for address in (first, second)]
    return len({re.sub(r"^([^/:]+)/", r"\1:5432/", host) for host in hosts}) == 1


@contextlib.contextmanager
def opening(address: str, setting: str) -> Iterator[None]:
    """Hold a database for one process while it is opened and its tables are perhaps made, on whichever machine the others are.

    `setting` is what people change when it is wrong. Raises `UserError` within seconds where nobody answers or the login is refused.
    """
    connection = _connect(address, setting)
    try:
        with _statement_failures(address, setting), connection.cursor() as cursor:
            cursor.execute("select set_config('lock_timeout', %s, false)", (str(_LOCK_TIMEOUT_MS),))
            cursor.execute("select pg_advisory_lock(%s)", (_LOCK,))
        yield
    finally:
        connection.close()


def _connect(address: str, setting: str) -> Any:
    try:
        import psycopg2
    except ImportError:
        raise UserError(f"{setting} names a PostgreSQL database and psycopg2 is not installed; pip install 'cosmos-ops[postgres]'") from None
    parts = _parts(address, setting)
    try:
        connection = psycopg2.connect(**{"connect_timeout": _TIMEOUT_S, **parts})
    except (psycopg2.Error, UnicodeError) as error:
        raise UserError(_refusal(address, setting, str(error))) from None
    connection.autocommit = True
    return connection


def _parts(address: str, setting: str) -> dict[str, Any]:
    """An address as SQLAlchemy reads it, in the words of libpq, whose own messages on a broken address show pieces of the password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(for_sqlalchemy(address))
    except (ArgumentError, ValueError):
        url = None
    if url is None or not url.database or "@" in (url.host or "") or "/" in url.database:
        raise UserError(f"{setting} is not an address of a PostgreSQL database; write {_FORM}")
    return {**url.translate_connect_args(username="user", database="dbname"), **url.query}


@contextlib.contextmanager
def _statement_failures(address: str, setting: str) -> Iterator[None]:
    import psycopg2

    try:
        yield
    except psycopg2.Error as error:
        raise UserError(_refusal(address, setting, str(error))) from None


def _refusal(address: str, setting: str, message: str) -> str:
    line = hide_password(" ".join(message.split()), address)
    shown = place(address)
    if "password authentication failed" in line or "no password supplied" in line:
        return f"PostgreSQL at {shown} refuses the login (wrong user or password); correct {setting}"
    if "does not exist" in line:
        return f"PostgreSQL at {shown} answers and has no such database or user ({line}); create it, or correct {setting}"
    if "lock timeout" in line:
        return f"PostgreSQL at {shown} is being opened by another process for {_LOCK_TIMEOUT_MS // 1000} s; end that one, or wait"
    return f"PostgreSQL at {shown} does not answer ({line[:200]}); start it, or correct {setting}"
