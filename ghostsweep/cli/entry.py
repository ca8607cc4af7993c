"""Where the command line is entered and left: exit codes, and failures as one line each."""

import errno
import os
import signal
import sys
import warnings

from ghostsweep.cli.app import PRINTING, app
from ghostsweep.cli.console import complain
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine.terminal import forgiving, reason
from ghostsweep.spec import code


def main() -> None:
    """Run the command line; a mistake of the user is one clear line and exit code 2, a failure 1.

    A pipe whose reader goes away is no failure, here and in what comes after: `list | head -1` ends with 0, and a
    training goes on. Where output is lost otherwise (a full disk) a line says so, and commands that only print fail.
    """
    with forgiving() as lost:
        code = _run()
        if lines := lost.lines():
            complain("\n".join(lines))
            code = code or int(sys.argv[1] in PRINTING)
    sys.exit(code)


def _run() -> int:
    """Run the command line; return the exit code."""
    warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
    code.TOLD[:] = [lambda path: complain(f"executing {path}")]
    os.environ.pop("MPLBACKEND", None)  # that of a notebook may not be there; pictures go to files without any
    kept = "; what is finished is kept, and the same command goes on from there"
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UsageError as error:
        complain(str(error))
        return 2
    except TrainingError as error:
        complain(str(error))
    except OSError as error:
        complain(f"{reason(error)}{kept if error.errno == errno.ENOSPC else ''}")
    except MemoryError as error:  # numpy's and Arrow's too
        complain(f"no memory: {reason(error)}{kept}")
    except KeyboardInterrupt as interrupt:
        return 128 + int((interrupt.args or (signal.SIGINT,))[0])
    return 1
