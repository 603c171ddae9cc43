"""What each metric is declared to see, and the table of it with what was measured."""

SEES, BLIND, PARTLY = "yes", "no", "partly"
AT_LEAST, AT_MOST = 0.8, 0.5
"""`yes`: ranked worse on at least this share of clips; `no`: on at most that; `partly`: between, or it depends on the scene."""

_WAYS = ("compressed", "blurred", "noisy", "warped", "frozen", "slowed", "shuffled", "other episode")


def _sees(*seen: str, blind_to: tuple[str, ...] = ()) -> dict[str, str]:
    return {way: SEES if way in seen else BLIND if way in blind_to else PARTLY for way in _WAYS}


DECLARED: dict[str, dict[str, str]] = {
    "psnr": _sees(*_WAYS),
    "ssim": _sees(*_WAYS),
    "latent_frechet": _sees("compressed", "blurred", "noisy", "warped", "frozen", "slowed"),
    "motion_ratio": _sees("noisy", "warped", "frozen", "slowed", "shuffled"),
    "motion_epe": _sees("noisy", "warped", "frozen", "slowed", "shuffled", "other episode"),
    "tse_sift": _sees("noisy", "warped", blind_to=("frozen", "slowed", "shuffled")),
    "tse_sift_matches": _sees("blurred", "noisy", "warped", "shuffled", blind_to=("frozen", "slowed", "compressed")),
    "action_consistency": _sees("warped", "frozen", "shuffled", "other episode"),
}
"""Column -> way of spoiling -> word."""


def word(share: float) -> str:
    """The word for a measured share."""
    return SEES if share >= AT_LEAST else BLIND if share <= AT_MOST else PARTLY


def broken_promises(shares: dict[str, dict[str, float]]) -> list[str]:
    """Where measured shares contradict what is declared, one line each. `partly` promises nothing."""
    lines = []
    for column, declared in DECLARED.items():
        for spoil, promise in declared.items():
            if promise != PARTLY and word(shares[column][spoil]) != promise:
                lines.append(f"{column} on {spoil}: declared {promise}, ranked worse on {shares[column][spoil]:.0%} of clips")
    return lines


def markdown(shares: dict[str, dict[str, float]]) -> str:
    """The table: a row a metric, a column a way of spoiling, the declared word and the measured share."""
    spoils = list(next(iter(DECLARED.values())))
    lines = [f"| metric | {' | '.join(spoils)} |", f"|---|{'---|' * len(spoils)}"]
    for column, declared in DECLARED.items():
        cells = (f"{declared[spoil]} {shares[column][spoil]:.0%}" for spoil in spoils)
        lines.append(f"| `{column}` | {' | '.join(cells)} |")
    return "\n".join(lines)
