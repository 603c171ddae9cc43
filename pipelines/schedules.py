"""Retraining by the calendar. Off until switched on in the UI."""

import dagster as dg

from pipelines.jobs import adapt_job

weekly_retraining = dg.ScheduleDefinition(
    name="weekly_retraining",
    job=adapt_job,
    cron_schedule="0 3 * * 0",
    description="The model half every Sunday at 03:00; with nothing new every step finds its work done",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
