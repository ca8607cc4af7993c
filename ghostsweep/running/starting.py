"""A new sweep file: a commented one to change, or a copy of another with all that it names."""

import re
import shutil
import tomllib
from pathlib import Path

from ghostsweep.errors import UsageError
from ghostsweep.running import finding
from ghostsweep.spec import load, loads
from ghostsweep.spec.code import is_reference

TEMPLATE = """\
# What is asked, in one line.
title = "Rank-one network: learning rate against timescale"

[run]                     # what all runs share; `ghostsweep fields rank_one` lists every field with its default
model = "rank_one"        # or canonical, low_rank, full_rank, or a file of your own beside this one: "gru.py"
epochs = 10_000

[axes]                    # every combination of these is a run
timescale = [5, 7, 10]    # steps until the output is to switch on
learning_rate = { geomspace = [1e-3, 1, 13] }    # 13 rates from 0.001 to 1, evenly spaced in the logarithm
seed = { range = 8 }      # 0 to 7

[record]
points = 50               # epochs of each run whose loss and gradient are kept, evenly spaced in the logarithm

[quick]                   # what `--quick` asks instead, for a first look
timescale = [5]
epochs = 1_000
"""


def new(name: str, *, like: str | None = None, folder: str | Path = finding.OWN) -> list[Path]:
    """Write `folder`/NAME.toml, as `like` another sweep with the files that one names; return what was written.

    Raises UsageError where the file is there already, for a name that no sweep can have, and for no such `like`.
    """
    path = Path(folder) / f"{name}.toml"
    if path.exists():
        raise UsageError(f"{path}: is there already; another name, or delete it first")
    if like is None:
        loads(TEMPLATE, name=name)  # for what is wrong with the name
        text, beside = TEMPLATE, []
    else:
        source = finding.find(like, folder)
        text = source.read_text()
        load(source, execute=False)
        loads(text, name=name, folder=source.parent, execute=False)
        beside = [source.parent / each for each in _named(text)]
        text = f"# A copy of {source.stem}, to be changed.\n" + text
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path]
    for each in beside:
        target = path.parent / each.name
        if not target.exists():
            if each.suffix == ".py":  # edited, it is another model: its text stands for its version from now on
                target.write_text(re.sub(r'^    version="1",\n', "", each.read_text(), flags=re.MULTILINE))
            else:
                shutil.copyfile(each, target)
            written.append(target)
    path.write_text(text)
    return written


def _named(text: str) -> list[str]:
    """Files that a sweep file names: models, tasks, parameters to begin from."""
    found = [str(data) for data in _texts(tomllib.loads(text))]
    names = [each.partition(":")[0] for each in found if is_reference(each) or each.endswith(".npz")]
    return [name for name in dict.fromkeys(names) if re.fullmatch(r"[\w.-]+\.(py|npz)", name)]


def _texts(data: object) -> list[str]:
    if isinstance(data, dict):
        return [text for value in data.values() for text in _texts(value)]
    if isinstance(data, list):
        return [text for value in data for text in _texts(value)]
    return [data] if isinstance(data, str) else []
