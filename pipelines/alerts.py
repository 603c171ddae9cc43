"""Alerts: a run that failed is told to a URL, with what failed first and why."""

import dagster as dg

from pipelines.environments import alert_url, notices

_STEPS_SHOWN = 3


@dg.run_failure_sensor(
    name="alerts",
    default_status=dg.DefaultSensorStatus.RUNNING if alert_url() else dg.DefaultSensorStatus.STOPPED,
    description="A failed run is posted to COSMOS_ALERT_WEBHOOK: job, run, drop, and the first failures with their remedies",
)
def alerts(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    run = context.dagster_run
    failures = [_line(event) for event in context.get_step_failure_events()][:_STEPS_SHOWN]
    drop = run.tags.get("dagster/partition")
    what = f"{run.job_name}{f' of drop {drop}' if drop else ''} failed: {'; '.join(failures) or context.failure_event.message or 'no message'}"
    facts = {"job": run.job_name, "dagster_run_id": run.run_id, "drop": drop, "failures": failures}
    said = notices().raise_alert("run_failed", what, facts)
    return None if said == "delivered" else dg.SkipReason(said)


def _line(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return f"{event.step_key}: {data.user_failure_data.description}"
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {' '.join(error.message.split()) if error is not None else 'no message'}"
