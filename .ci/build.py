"""Write into what is built from which commit it was: results say it, also where nothing but the package is."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Commit(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ghostsweep/commit.txt where there is a history to tell it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before anything is built."""
        if version == "editable" or not (Path(self.root) / ".git").exists():
            return
        command = ["git", "-C", self.root, "describe", "--always", "--dirty", "--abbrev=12"]
        try:
            commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return
        self.file = Path(tempfile.mkdtemp()) / "commit.txt"
        self.file.write_text(commit)
        build_data["force_include"][str(self.file)] = "ghostsweep/commit.txt"
