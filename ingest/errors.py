"""The one exception a user is meant to read."""


class TidemarkError(Exception):
    """Something the user can mend. Its text is one line that says what happened and what to do.

    Commands print it on standard error without a traceback and exit with status 2.
    """
