"""The one error type whose message is meant for the user."""


class UsageError(Exception):
    """A mistake in what the user gave (spec, table, option).

    The message is complete in itself: it names the file or table, the key, what was found and what is
    allowed. The command line prints it without a traceback and exits with code 2.
    """
