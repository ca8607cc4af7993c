"""The command line: commands that parse and call, and a console that prints."""

from ghostsweep.cli import telling, training  # isort: skip
from ghostsweep.cli import commands, ghosts, pages, reducing, starting  # isort: skip  # each registers its commands, in the order of the help
from ghostsweep.cli.app import app
from ghostsweep.cli.entry import main

__all__ = ["app", "commands", "ghosts", "main", "pages", "reducing", "starting", "telling", "training"]
