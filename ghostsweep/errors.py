"""The error types whose messages are meant for the user."""


class UsageError(Exception):
    """A mistake in what the user gave (spec, table, option).

    The message is complete in itself: it names the file or table, the key, what was found and what is
    allowed. The command line prints it without a traceback and exits with code 2.
    """


class TrainingError(Exception):
    """Chunks of a sweep that could not be trained; what the others gave is stored.

    The message names each with its parameters and the file with its traceback. Exit code 1.
    """
