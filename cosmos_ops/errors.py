"""The two failures a user may expect; the command line turns each into one line and an exit code."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM)
_DATABASES = {"database or disk is full": True, "attempt to write a readonly database": False, "unable to open database file": False}
"""What SQLite says -> whether the disk is full; it names no file."""


class UserError(Exception):
    """Wrong use or bad input. The message says what, why and what to do. Exit code 2."""


class WorkFailed(Exception):
    """The input was fine and the work did not succeed. Exit code 1."""


def storage_failure(error: BaseException) -> WorkFailed | None:
    """One line for a disk that is full or cannot be written, or what access is denied to, wherever in a chain of errors it stands; None for anything else."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, OSError) and link.errno in (*_FULL, *_DENIED, errno.EROFS):
            what = f"{link.filename or 'a file'} cannot be written ({link.strerror or link})"
            return _denied(link) if link.errno in _DENIED else _cannot_write(what, link.errno in _FULL)
        for text, full in _DATABASES.items():
            if text in str(link):
                return _cannot_write(f"a database cannot be written ({text})", full)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def _denied(error: OSError) -> WorkFailed:
    # To read it or to write it: the system does not say.
    return WorkFailed(f"{error.filename or 'a file'} may not be used ({error.strerror or error}); allow it, then run the same command again")


def _cannot_write(what: str, full: bool) -> WorkFailed:
    remedy = "make room there" if full else "let it be written"
    return WorkFailed(f"{what}; {remedy}, then run the same command again: it goes on from what is whole")
