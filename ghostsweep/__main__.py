"""`python -m ghostsweep`, and the command `ghostsweep`."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line, signals heard from here on; nothing is imported from the folder that it is called in."""
    if __name__ == "__main__" and not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
        del sys.path[0]  # which -m has put there
    from ghostsweep.machine import signals

    signals.hear()
    from ghostsweep import cli

    cli.main()


if __name__ == "__main__":
    main()
