"""The command line: commands that parse and call, and a console that prints."""

from ghostsweep.cli.commands import app
from ghostsweep.cli.entry import main

__all__ = ["app", "main"]
