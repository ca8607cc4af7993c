"""Run by the Python that has the installed package: commands and code, each tried in this process, told as JSON lines.

Standard input: a list of {"what", "folder" to be in, "words" of a command with "wanted", its exit code, or "code"}.
"""

import contextlib
import io
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def tried(each: dict[str, Any]) -> dict[str, Any]:
    """What became of one command or code: good, seconds of the clock and of processors, and what it said."""
    from ghostsweep.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    os.chdir(each["folder"])
    began, before = time.perf_counter(), sum(os.times()[:4])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if "words" in each:
                sys.argv = ["ghostsweep", *each["words"]]
                main()
            else:
                exec(compile(each["code"], each["what"], "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            code = 70
            traceback.print_exc()
    said = err.getvalue()
    good = code == each.get("wanted", 0) and "Traceback" not in said
    return {
        "what": each["what"],
        "good": good,
        "seconds": time.perf_counter() - began,
        "processor": sum(os.times()[:4]) - before,
        "said": out.getvalue(),
        "erred": said[-2000:],
    }


if __name__ == "__main__":
    import ghostsweep

    assert Path(ghostsweep.__file__).is_relative_to(sys.argv[1]), ghostsweep.__file__
    for each in json.load(sys.stdin):
        print(json.dumps(tried(each)), flush=True)
