"""A disk that cannot be written, as libraries report it."""

import errno
import sqlite3

import pytest

from cosmos_ops.errors import storage_failure


def chained(inner: Exception) -> Exception:
    """As an object-relational mapper or a retry wraps it."""
    try:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("while working") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/lake/a.tar"), "/lake/a.tar cannot be written (No space left on device); make room there"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/lake"), "make room there"),
        (OSError(errno.EROFS, "Read-only file system", "/lake/drops"), "/lake/drops cannot be written (Read-only file system); let it be written"),
        (PermissionError(errno.EACCES, "Permission denied", "/lake"), "/lake may not be used (Permission denied); allow it"),
        (sqlite3.OperationalError("database or disk is full"), "a database cannot be written (database or disk is full); make room there"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "let it be written"),
    ],
)
def test_it_is_one_line_with_a_remedy_however_deep_it_lies(error, says):
    for one in (error, chained(error)):
        told = str(storage_failure(one))
        assert says in told and "run the same command again" in told and "\n" not in told


def test_an_error_that_hides_what_it_came_from_is_left_alone():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/tmp/probe")
        except OSError:
            raise ValueError("something else") from None
    except ValueError as error:
        assert storage_failure(error) is None


def test_other_errors_are_left_alone():
    for error in (FileNotFoundError(errno.ENOENT, "No such file", "x"), ValueError("bad"), chained(KeyError("x")), OSError("no number")):
        assert storage_failure(error) is None
