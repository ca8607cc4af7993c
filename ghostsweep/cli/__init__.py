"""The command line: commands that parse and call, and a console that prints."""

from ghostsweep.cli.commands import app, main

__all__ = ["app", "main"]
