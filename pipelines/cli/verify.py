"""`verify`: is everything in the lake what it was when it was written?"""

from dataclasses import asdict
from typing import Any

from pipelines.cli.output import Output
from pipelines.environments import environment


def verify(arguments, output: Output) -> dict[str, Any]:
    """Hash the lake again; exit code 1 where something is damaged. Unlike other commands it does not even make the state folders."""
    env = environment()
    from cosmos_ops.verify import Damage, verify_lake

    def found(damage: Damage) -> None:
        output.say(f"{damage.path}: {damage.what}")
        output.say(f"    {damage.remedy}")

    report = verify_lake(env.lake, arguments.drop, env.profile.data_fingerprint, output.progress, found)
    for folder in report.unfinished:
        output.say(f"{folder}: unfinished; the command that was making it continues there")
    for folder in report.busy:
        output.say(f"{folder}: not checked, another process is writing to it")
    count = f"{report.checked} files, {report.checked_bytes / 1e6:.1f} MB"
    output.say(f"{count}: {f'{len(report.damaged)} damaged, missing or extra' if report.damaged else 'all as written'}")
    output.code = 0 if report.ok else 1
    return {
        "ok": report.ok,
        "checked": report.checked,
        "checked_bytes": report.checked_bytes,
        "damaged": [asdict(damage) for damage in report.damaged],
        "unfinished": list(report.unfinished),
        "busy": list(report.busy),
    }
