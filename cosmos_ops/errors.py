"""The two failures a user may expect; the command line turns each into one line and an exit code."""


class UserError(Exception):
    """Wrong use or bad input. The message says what, why and what to do. Exit code 2."""


class WorkFailed(Exception):
    """The input was fine and the work did not succeed. Exit code 1."""
