"""Slots of a pool that nobody holds any more: the next command frees them."""

import dagster as dg

from pipelines.cli.running import bury_dead_runs


@dg.job
def nothing():
    pass


def test_slots_of_ended_and_lost_runs_are_freed_and_those_of_running_ones_kept():
    with dg.instance_for_test() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 3)
        ended = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.FAILURE).run_id
        running = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED).run_id
        for run_id in (ended, running, "0" * 8):
            assert storage.claim_concurrency_slot("gpu", run_id, "step").is_claimed
        bury_dead_runs(instance)
        assert {slot.run_id for slot in storage.get_concurrency_info("gpu").claimed_slots} == {running}
