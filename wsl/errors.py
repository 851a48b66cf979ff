"""The two ways a command can fail, told apart by their exit codes."""


class UserError(ValueError):
    """What the user gave cannot be used: one line that says what was given, what was expected, what to do.

    Commands end with exit code 2.

    >>> str(UserError("threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2"))
    'threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2'
    """


class RunError(RuntimeError):
    """A run that was started correctly could not be finished (NaN loss, full disk); exit code 1."""


class BadImageError(UserError):
    """One file is not a readable image; streams report it, count it and go on unless told to be strict."""
