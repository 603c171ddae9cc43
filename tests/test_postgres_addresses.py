"""What of a database's address is shown and how it is spelled."""

import pytest

from cosmos_ops.postgres import for_sqlalchemy, has_password, hide_password, is_postgres, place, same_database, without_password


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:pw@h:5432/d?sslmode=require&password=pw", "postgresql://u@h:5432/d"),
        ("postgresql+psycopg2://u:p%40w@h/d", "postgresql+psycopg2://u@h/d"),
        ("postgresql://u:a@b/c:d@h/d", "postgresql://u@h/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("http://u:pw@tracking:5000", "http://u@tracking:5000"),
        ("https://tracking/prefix", "https://tracking/prefix"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db"),
        ("/some/folder", "/some/folder"),
    ],
)
def test_what_is_shown_holds_no_password(address, shown):
    assert without_password(address) == shown
    assert has_password(address) == (address != shown)


def test_spelling_for_sqlalchemy():
    for address in ("postgresql://u:p@h/d", "postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d", "postgresql+psycopg2://u:p@h/d"):
        assert is_postgres(address) and for_sqlalchemy(address) == "postgresql+psycopg2://u:p@h/d"
        assert place(address) == "u@h/d"
    for address in ("sqlite:////x.db", "http://postgres://x", ""):
        assert not is_postgres(address) and for_sqlalchemy(address) == address


def test_a_password_is_hidden_in_either_spelling():
    address = "postgresql://u:p%40ss@h/d"
    assert hide_password(f"FATAL p@ss and p%40ss of {address}", address) == "FATAL *** and *** of postgresql://u:***@h/d"


def test_which_addresses_are_one_database():
    assert same_database("postgresql://a:x@localhost/d", "postgres://b@127.0.0.1:5432/d?sslmode=disable")
    assert not same_database("postgresql://a@h/d", "postgresql://a@h/e")
    assert not same_database("postgresql://a@h:5433/d", "postgresql://a@h/d")
    assert not same_database("sqlite:////d", "sqlite:////d")
