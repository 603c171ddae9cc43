"""The data half with the lake on S3: what one machine ingests, every other has."""

import pytest

pytestmark = pytest.mark.slow


def test_what_one_machine_ingests_another_has(machine, log, store):
    one, other = machine("one"), machine("other")
    made = one.json("ingest", str(log))
    store.counts()
    found = other.json("ingest", str(log))
    seen = store.counts()
    assert found == made | {"unchanged": True}
    assert "PUT" not in seen and "DELETE" not in seen and "LIST" not in seen
    assert not list(other.lake.rglob("*.tar")), "shards are brought when they are read"
