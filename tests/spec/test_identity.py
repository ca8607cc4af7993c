"""What a user's model or task is known by: all that decides its numbers, and nothing else."""

import hashlib
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghostsweep
from ghostsweep import Run, UsageError
from ghostsweep.spec import code

SWEEPS = Path(__file__).parents[2] / "sweeps"
HEAD = """
import functools, jax, jax.numpy as jnp, numpy as np
from pathlib import Path
from typing import NamedTuple
from ghostsweep.declare import Data, Field, Model

def initial(shape, traced, key):
    return {"w": jnp.zeros(1, shape.dtype)}
"""
TAIL = """
OWN = Model("own", (), initial, loss=loss)
"""
LOSS = "def loss(shape, p, traced):\n    e = ((p['w'] - GOAL) ** 2).sum()\n    return e, (e < 1).astype(shape.dtype)\n"
MAKE = (
    "def make(goal):\n"
    + "".join(f"    {line}\n" for line in LOSS.replace("GOAL", "goal").splitlines())
    + "    return Model('to_goal', (), initial, loss=loss)\n"
)


def named(folder: Path, text: str, attribute: str = "", **beside: str) -> str:
    """The name of the model of a file with this text."""
    for name, other in beside.items():
        (folder / f"{name}.py").write_text(other)
    (folder / "own.py").write_text(text)
    return code.read("model", f"own.py:{attribute}" if attribute else "own.py", folder).load()


def digest_of_old(text: str) -> str:
    """As runs were known before anything beside the text counted."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept = "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return hashlib.blake2b(kept.encode(), digest_size=4).hexdigest()


def first_loss(model: Any, **fields: Any) -> float:
    """The loss at the first epoch."""
    return float(ghostsweep.train_one(Run(model=model, learning_rate=0.1, epochs=1, **fields)).loss[0])


@pytest.mark.parametrize("name", ["gru", "flip_flop", "two_layer"])
def test_the_examples_without_their_versions_are_known_as_ever(name: str, tmp_path: Path) -> None:
    text = (SWEEPS / f"{name}.py").read_text().replace('    version="1",\n', "")
    (tmp_path / "x.py").write_text(text)
    found = code.read("task" if name == "flip_flop" else "model", "x.py", tmp_path).load()
    assert found == f"{name}@{digest_of_old(text)}"


PLAIN = {
    "a literal": "GOAL = 5.0\n",
    "literals": "A, B = 2.0, [1.0, 2.5]\nGOAL: float = A * 2.5 if A > 1 else -A\n",
    "another's constant": "GOAL = 2 * np.pi\n",
    "jitted": "GOAL = 1.0\n@functools.partial(jax.jit, static_argnums=1)\ndef more(x, n=2):\n    return n * x\n",
    "partial": "GOAL = 1.0\ndef more(x, n):\n    return n * x\nmore_2 = functools.partial(more, n=2)\n",
    "class": "GOAL = 1.0\nclass State(NamedTuple):\n    x: float = 1.0\n    def twice(self):\n        return self.x\n",
    "lambda": "GOAL = 1.0\nact = lambda x, g=GOAL: g * x\n",
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_file_whose_text_says_all_is_known_by_its_text(case: str, tmp_path: Path) -> None:
    extra = "\n".join(f"    {name}" for name in ("more", "more_2", "State", "act") if name in PLAIN[case])
    text = HEAD + PLAIN[case] + LOSS.replace("    e =", f"{extra}\n    e =", 1) + TAIL
    assert named(tmp_path, text) == f"own@{digest_of_old(text)}"


INNER = "    @jax.jit\n    def inner(w):\n        return w - goal\n    def loss"
BESIDE: dict[str, tuple[str, str, str]] = {
    "closure": (MAKE, "OWN = make(1.0)\n", "OWN = make(5.0)\n"),
    "closure of an array": (
        MAKE, "OWN = make(np.ones(1, np.float32))\n", "OWN = make(np.full(1, 5, np.float32))\n"
    ),
    "closure of an array of JAX": (MAKE, "OWN = make(jnp.ones(1))\n", "OWN = make(5 * jnp.ones(1))\n"),
    "kind of an array": (MAKE.replace("- goal", "- goal.itemsize"), "OWN = make(np.ones(1, np.int8))\n",
                         "OWN = make(np.ones(1, np.int16))\n"),
    "shape of an array": (MAKE.replace("- goal", "- goal.ndim"), "OWN = make(np.ones((4, 1)))\n",
                          "OWN = make(np.ones((2, 2, 1)))\n"),
    "optimizer of optax": (
        "import optax\n" + MAKE.replace("- goal", "- goal.update(jnp.ones(1), goal.init(p['w']))[0]"),
        "OWN = make(optax.sgd(1.0))\n", "OWN = make(optax.sgd(5.0))\n"
    ),
    "gradient": (
        "def double(goal, x):\n    return goal * x\n" + MAKE.replace("- goal", "- goal(1.0)"),
        "OWN = make(jax.grad(functools.partial(double, 1.0)))\n",
        "OWN = make(jax.grad(functools.partial(double, 5.0)))\n",
    ),
    "closure of a function": (
        MAKE.replace("- goal", "- goal(1.0)"),
        "OWN = make(lambda x: x)\n",
        "OWN = make(lambda x: 2 * x)\n",
    ),
    "two functions of a line": (
        MAKE.replace("- goal", "- goal(1.0)") + "BOTH = [(lambda x: x), (lambda x: 2 * x)]\n",
        "OWN = make(BOTH[0])\n",
        "OWN = make(BOTH[1])\n",
    ),
    "default": (
        LOSS.replace("traced)", "traced, GOAL=float(Path(__file__).with_name('g').read_text()))", 1),
        "goal 1",
        "goal 2",
    ),
    "partial": (LOSS.replace("def loss(", "def loss_of(GOAL, "), "goal 1", "goal 2"),
    "global": ("GOAL = float(Path(__file__).with_name('g').read_text())\n" + LOSS, "goal 1", "goal 2"),
    "set later": (f"GOAL = 1.0\n{LOSS}globals()['GOAL'] = len(str(Path(__file__).with_name('g').read_text()))\n",
                  "goal 1", "goal 22"),
    "a loaded array": ("GOAL = np.loadtxt(Path(__file__).with_name('g'))\n" + LOSS, "goal 1", "goal 2"),
    "a field's default": (
        LOSS.replace("GOAL", "traced['goal']")
        + "SIZE = float(Path(__file__).with_name('g').read_text())\n"
        + "OWN = Model('own', (Field('goal', 'to', default=SIZE),), initial, loss=loss)\n",
        "goal 1", "goal 2",
    ),
    "jitted": (MAKE.replace("    def loss", INNER).replace("p['w'] - goal", "inner(p['w'])"),
               "OWN = make(1.0)\n", "OWN = make(5.0)\n"),
    "a method": ("class Goal:\n    def __init__(self, to):\n        self.to = to\n"
                 "    def loss(self, shape, p, traced):\n"
                 "        e = ((p['w'] - self.to) ** 2).sum()\n        return e, (e < 1).astype(shape.dtype)\n",
                 "OWN = Model('own', (), initial, loss=Goal(1.0).loss)\n",
                 "OWN = Model('own', (), initial, loss=Goal(5.0).loss)\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", BESIDE)
def test_what_functions_reach_beyond_the_text_counts(case: str, tmp_path: Path) -> None:
    """Two parts of one text, or of one text and another file, that differ by one value; and each is as it was again."""
    body, *ways = BESIDE[case]
    names, losses = [], []
    for way in (ways[0], ways[1], ways[0]):
        goal = way.startswith("goal ")
        if goal:
            (tmp_path / "g").write_text(way.removeprefix("goal "))
        text = HEAD + body + ("" if goal else f"ONE = {ways[0].partition('= ')[2]}TWO = {ways[1].partition('= ')[2]}")
        if goal and "OWN" not in body:
            own = "functools.partial(loss_of, float(Path(__file__).with_name('g').read_text()))"
            text += TAIL.replace("loss=loss", f"loss={own}" if case == "partial" else "loss=loss")
        names.append(named(tmp_path, text, "" if goal else ("ONE" if way == ways[0] else "TWO")))
        losses.append(first_loss(names[-1]))
    assert names[0] == names[2] != names[1] and losses[0] == losses[2], case
    assert losses[0] != losses[1], case


def test_modules_beside_the_file_count_and_are_executed_as_they_are_now(tmp_path: Path) -> None:
    text = HEAD + "import helper\n" + LOSS.replace("GOAL", "helper.goal()") + TAIL
    deep = "from further import GOAL\ndef goal():\n    return GOAL\n"
    first = named(tmp_path, text, helper=deep, further="GOAL = 1.0\n")
    assert first_loss(first) == 1.0
    second = named(tmp_path, text, further="GOAL = 5.0\n")
    assert first_loss(second) == 25.0 and second != first and "helper" not in sys.modules
    assert named(tmp_path, text, further="GOAL = 1.0\n# a comment\n") == first
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/__init__.py").write_text("from .inner import goal\n")
    (tmp_path / "pack/inner.py").write_text("def goal():\n    return 3.0\n")
    third = named(tmp_path, text.replace("import helper", "import pack as helper"))
    assert first_loss(third) == 9.0
    (tmp_path / "pack/inner.py").write_text("def goal():\n    return 4.0\n")
    assert first_loss(named(tmp_path, text.replace("import helper", "import pack as helper"))) == 16.0


def test_lines_in_a_text_of_several_lines_count(tmp_path: Path) -> None:
    table = 'TABLE = """\n# 1\n2\n"""\nGOAL = float(TABLE.split()[1])\n'
    first = named(tmp_path, HEAD + table + LOSS + TAIL)
    second = named(tmp_path, HEAD + table.replace("# 1", "# 3") + LOSS + TAIL)
    assert first != second and (first_loss(first), first_loss(second)) == (1.0, 9.0)
    doc = HEAD + 'GOAL = 1.0\ndef f():\n    """What\n\n    # it is\n    """\n' + LOSS + TAIL
    assert named(tmp_path, doc) == f"own@{digest_of_old(doc)}"


UNTOLD = {
    "a generator": ("GOAL = np.random.default_rng(0)\n", "GOAL.normal()", "GOAL: found a generator of random numbers"),
    "the global generator": ("", "np.random.normal()", "np.random.normal: found a generator of random numbers"),
    "Python's": ("import random\n", "random.random()", "a generator of random numbers"),
    "an open file": ("import io\nGOAL = io.StringIO('1')\n", "len(GOAL.name)", "GOAL: found an open file"),
    "reading": ("", "np.load('x.npy')", "np.load: found"),
    "reading by open": ("", "len(open('x').read())", "open: found"),
    "reading a path": ("", "float(Path('x').read_text())", "loss: found read_text"),
    "an iterator": ("GOAL = iter([1.0, 2.0])\n", "next(GOAL)", "GOAL: found an open file or an iterator"),
    "the clock": ("import time\n", "time.time()", "time.time: found"),
    "the environment": ("import os\n", "float(os.environ['GOAL'])", "os.environ: found"),
    "an object of C": (
        "import threading\nGOAL = threading.Lock()\n",
        "GOAL.locked()",
        "GOAL: found an object of _thread",
    ),
    "objects in an array": ("GOAL = np.array([print], object)\n", "len(GOAL)", "GOAL: found an array of object"),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_cannot_be_told_is_refused_in_one_line_unless_a_version_is_declared(case: str, tmp_path: Path) -> None:
    before, goal, line = UNTOLD[case]
    text = HEAD + before + LOSS.replace("GOAL", goal) + TAIL
    with pytest.raises(UsageError, match=f"own, .*{line}.*; allowed: .*Data.*version = a text") as error:
        named(tmp_path, text)
    assert len(str(error.value).splitlines()) == 1
    assert named(tmp_path, text.replace("loss=loss)", f"loss=loss, version={case!r})")) == f"own@{case}"


def test_two_parts_of_one_name_and_version_that_differ_are_an_error(tmp_path: Path) -> None:
    text = HEAD + MAKE.replace("initial, loss", "initial, version='7', loss") + "ONE, TWO = make(1.0), make(5.0)\n"
    assert named(tmp_path, text, "ONE") == "to_goal@7"
    with pytest.raises(UsageError, match=r"to_goal: found two of version '7' that differ \(.*own.py:ONE and .*:TWO\)"):
        named(tmp_path, text, "TWO")


def test_a_folder_has_one_part_of_each_name_and_version(tmp_path: Path) -> None:
    """Of a notebook, or of another file; a file that was edited is what its author says it is."""
    text = HEAD + "GOAL = 1.0\n" + LOSS + TAIL.replace("loss=loss", "loss=loss, version='8'")
    script = (
        f"import ghostsweep\n{text}\n"
        "s = ghostsweep.sweep('x', model=OWN, axes={'learning_rate': [0.1]}, epochs=1)\n"
        "print(ghostsweep.run(s, progress=False).runs['initial_loss'].tolist())\n"
    )

    def ran(script: str) -> str:
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout or done.stderr.splitlines()[-1]

    assert ran(script) == ran(script) == "[1.0]\n"
    other = ran(script.replace("GOAL = 1.0", "GOAL = 5.0").replace("'learning_rate': [0.1]", "'learning_rate': [0.2]"))
    assert "found runs of another own@8, of other text or values; allowed: another version" in other


CELLS = HEAD + "GOAL = 1.0\ndef half(x):\n    return x / 2\n" + LOSS.replace("- GOAL", "- 2 * half(GOAL)") + TAIL


def cell(text: str, there: dict[str, Any], number: list[int]) -> None:
    """Execute a text as a notebook executes a cell, whose text Python then knows."""
    import linecache

    name = f"<cell {id(there)} {number.append(0) or len(number)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), there)


def test_what_other_cells_of_a_notebook_say_counts() -> None:
    there: dict[str, Any] = {"__name__": "__main__"}
    cells: list[int] = []
    cell(CELLS, there, cells)
    first = Run(model=there["OWN"], learning_rate=0.1, epochs=1)
    assert first_loss(there["OWN"]) == 1.0
    cell("GOAL = 5.0\n", there, cells)
    second = Run(model=there["OWN"], learning_rate=0.1, epochs=1)
    assert second.run_id != first.run_id and first_loss(there["OWN"]) == 25.0
    with pytest.raises(UsageError, match="own: what its functions name has changed since runs were made of it"):
        ghostsweep.train_one(first)
    cell("def half(x):\n    return x\n", there, cells)
    assert Run(model=there["OWN"], learning_rate=0.1, epochs=1).run_id != second.run_id
    assert first_loss(there["OWN"]) == 100.0
    cell("GOAL = 1.0\ndef half(x):\n    return x / 2\n", there, cells)
    assert Run(model=there["OWN"], learning_rate=0.1, epochs=1).run_id == first.run_id


def test_a_module_that_was_set_or_edited_after_it_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_module.py").write_text(HEAD + "GOAL = 1.0\n" + LOSS + TAIL)
    module = importlib.import_module("own_module")
    first = Run(model=module.OWN, learning_rate=0.1, epochs=1)
    module.GOAL = 5.0
    assert Run(model=module.OWN, learning_rate=0.1, epochs=1).run_id != first.run_id
    assert first_loss(module.OWN) == 25.0
    made = ghostsweep.sweep("x", model=module.OWN, axes={"learning_rate": [0.1]}, epochs=1)
    assert not made.code and ghostsweep.run(made, out=tmp_path).runs["initial_loss"].tolist() == [25.0]
    module.GOAL = 1.0
    (tmp_path / "own_module.py").write_text(HEAD + "GOAL = 1.0\n" + LOSS.replace("** 2", "** 4") + TAIL)
    with pytest.raises(UsageError, match="own_module.py: was edited after it was imported; allowed: import it anew"):
        Run(model=module.OWN, learning_rate=0.1, epochs=1)
    del sys.modules["own_module"]


def test_a_helper_of_another_process_is_read_anew(tmp_path: Path) -> None:
    """As at the command line, in a folder of one's own: an edited helper or array is never taken for the old one."""
    (tmp_path / "own.py").write_text(
        HEAD + "from helper import goal\nEXTRA = np.load(Path(__file__).with_name('e.npy'))\n"
        + LOSS.replace("GOAL", "(goal() - EXTRA)") + TAIL
    )  # fmt: skip
    (tmp_path / "x.toml").write_text('[run]\nmodel = "own.py"\nepochs = 1\nlearning_rate = 0.1\n[axes]\nseed = [0]\n')

    def trained(goal: float, extra: float) -> str:
        (tmp_path / "helper.py").write_text(f"def goal():\n    return {goal}\n")
        np.save(tmp_path / "e.npy", np.array([extra]))
        command = [sys.executable, "-m", "ghostsweep", "run", "x.toml", "--format", "json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr
        said = subprocess.run([*command[:3], "status", "x.toml"], cwd=tmp_path, capture_output=True, text=True).stdout
        assert "changed" not in said and "done" in said
        return " ".join(map(str, ghostsweep.read("x", tmp_path / "results").runs["initial_loss"]))

    assert [trained(1.0, 0.0), trained(5.0, 0.0), trained(5.0, 2.0)] == ["1.0", "25.0", "9.0"]
    np.save(tmp_path / "e.npy", np.array([3.0]))
    said = subprocess.run(
        [sys.executable, "-m", "ghostsweep", "status", "x.toml"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert "e.npy has changed: runs of another text do not count" in said


def test_nothing_that_a_file_calls_is_called_again(tmp_path: Path) -> None:
    """A file that trains where it is read would train once more, and so for ever, to see what its text says."""
    count = "import ghostsweep\nCALLS = []\nghostsweep.status = lambda: CALLS.append(1)\n"
    text = HEAD + count + "GOAL = 1.0\nSEEN = [ghostsweep.status()]\n" + LOSS.replace("GOAL", "(GOAL + 0 * len(SEEN))")
    before = ghostsweep.status
    try:
        named(tmp_path, text + TAIL)
        (module,) = (each for each in sys.modules.values() if getattr(each, "SEEN", None) == [None])
        assert module.CALLS == [1]
    finally:
        ghostsweep.status = before
