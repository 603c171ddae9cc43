"""Which code made something: recorded with every adapter and decision."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import cosmos_ops


@dataclass(frozen=True)
class Provenance:
    """Where a result came from."""

    dagster_run_id: str
    code_version: str
    """Version of the package."""
    git_commit: str
    """Commit of the checkout, with `+changes` when files differed from it; `unknown` outside a checkout."""


def provenance(dagster_run_id: str) -> Provenance:
    """Provenance of work done now by a Dagster run."""
    return Provenance(dagster_run_id, cosmos_ops.__version__, _git_commit(Path(cosmos_ops.__file__).parents[1]))


def _git_commit(folder: Path) -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return "unknown"
