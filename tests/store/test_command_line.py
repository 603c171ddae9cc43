"""The command line on two machines that share nothing but a lake on S3."""

import json
import threading

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_two_machines_and_one_lake(machine, log, store, lake_url):
    """One ingests; the other, whose home is empty, finds that done, adapts, promotes and tells what made it; the first finds all in the store sound."""
    one, other = machine("one"), machine("other")
    made = one.json("ingest", str(log))
    store.counts()
    found = other.json("ingest", str(log))
    assert found == made | {"unchanged": True}
    seen = store.counts()
    assert set(seen) == {"GET"}, "nothing is sent, and nothing listed"
    assert not list(other.lake.rglob("*.tar")), "shards are brought when they are read"

    ran = other.json("run")
    assert list(other.lake.rglob("*.tar")) and set(ran["scores"]) == {"base", "lora-r8"} and ran["reason"]
    assert other.json("promote", "1", "--force", "--reason", "to have one")["champion"]
    champion = other.json("lineage", "champion")
    assert champion["dataset_version"] == ran["dataset_version"] and champion["drops"] == ["monday"]
    bucket = lake_url.removeprefix("s3://").partition("/")[0]
    keys = store.keys(bucket)
    assert any(key.startswith("lake/mlflow/") and key.endswith("adapter_model.safetensors") for key in keys), "MLflow's artifacts lie in the lake"

    checked = one.json("verify")
    assert checked["ok"] and checked["checked"] > 30 and not checked["unfinished"], checked
    key = next(key for key in keys if key.endswith(".tar"))
    store.put(bucket, key, store.object(bucket, key)[:-1] + b"x")
    told = one.run("verify", "--json", code=1)
    assert [damage["path"] for damage in json.loads(told.stdout.strip().splitlines()[-1])["damaged"]] == [f"s3://{bucket}/{key}"]

    secret = store.environment["AWS_SECRET_ACCESS_KEY"].encode()
    for home in (one.path, other.path):
        assert not [path for path in home.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert not [key for key in keys if secret in store.object(bucket, key)]


def test_killed_and_cut_off_the_same_command_completes(machine, log, store, lake_url):
    one = machine("one")
    going, may_go = threading.Event(), threading.Event()

    def first_shard(request) -> bool:
        if request.method == "PUT" and request.path.endswith(".tar"):
            going.set()
            return True
        return False

    store.fault(first_shard, 1, hold=may_go)
    process = one.start("ingest", str(log))
    assert going.wait(400)
    process.kill()
    process.communicate()
    may_go.set()
    bucket = lake_url.removeprefix("s3://").partition("/")[0]
    assert not [key for key in store.keys(bucket) if "/shards/" in key and key.endswith("manifest.json")]
    store.cut = True
    lost = one.run("ingest", str(log), code=1)
    assert lost.stderr.strip().splitlines()[-1].count("nothing is lost: run the same command again") == 1
    store.mend()
    store.fault(lambda request: request.method == "PUT", 3, status=503)
    made = one.json("ingest", str(log))
    assert not made["unchanged"] and made["shards"] == 3
    assert machine("other").json("ingest", str(log)) == made | {"unchanged": True}


def test_doctor_says_whether_the_store_answers(machine, store):
    one = machine("one")
    found = {finding["name"]: finding for finding in one.json("doctor")["findings"]}
    assert found["lake"]["ok"] and "answers and can be written to" in found["lake"]["detail"] and "lake, two writers" not in found
    store.cut = True
    found = {finding["name"]: finding for finding in one.json("doctor")["findings"]}
    assert not found["lake"]["ok"] and "does not answer" in found["lake"]["detail"]
