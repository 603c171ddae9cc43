"""From contenders to a leaderboard: generate videos of the evaluation set, score them, compare them, show them."""
