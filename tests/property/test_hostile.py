"""Hostile input: mutated sweep files, hostile names and places. One clear line each, and nothing written elsewhere."""

import errno
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import UsageError, cli, load, plan
from ghostsweep.plan import groups
from ghostsweep.spec import loads
from ghostsweep.store import files
from ghostsweep.training import engine

SWEEPS = Path(__file__).parents[2] / "sweeps"
HOSTILE = r"""
nan|-nan|inf|-1|0|1|1e400|-1e-400|1e308|9223372036854775808|0x10|1_0|true|"none"|""|'x'|"../../x"|[]|[[]]|{}|[1,"a"]|[nan]|[0,0]
[1,2,[3]]|{range=0}|{range=-5}|{range=10000000000}|{range=[1,2,0]}|{linspace=[0,1,100000000]}|{logspace=[0,1]}|{a=1}|1e-300
{logspace=[-999,999,5]}|{logspace=[0,nan,3]}|{linspace=[1,"a",2]}|{linspace=[0,1,3]}|{range=3}|[0.1,0.2]|[1,2,3]|1979-05-27|"\0"
100000000000000000000000|{range=100000000000000000000000}|{range=[-9223372036854775808,9223372036854775807]}|[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]
"\u001b[2J"|{linspace=[0,1,100000000000000000000000]}|{linspace=[-1e308,1e308,3]}|{logspace=[-4,-4.0000000000001,3]}|20.5|24.9
"""
LINES = r"""
delay_ms=24.9|dt_ms=4|dt_ms=[4.0,5.0]|dt_ms=2.5|"\u001b[2J"=1|"\u202e"=[1]|a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p=1
'''a|[|]|{|}|#|"|\|=|[run]|[axes]|[[axes]]|[[phases]]|[quick]|[record.snapshots]|a.b.c=1|epochs=1|epochs=7|seed=[1]|rank=0
model="canonical"|model="full_rank"|task="dmts"|task="dcdt"|rank=1e9|timescale=2.5|timescale=9|confidence="none"|points=1000000000
epochs=[1e3]|learning_rate={logspace=[0,300,9]}|learning_rate=0.1|optimizer="adam"|momentum=2|momentum=0.5|train_confidence=1
train_confidence=true|initial="/etc/passwd"|initial="x.npz"|levels=99|share=1|share=0|noise_sigma=0.1|dtype="float64"|n_units=7
"""
VALUES, KEYS = (text.replace("\n", "|").strip("|").split("|") for text in (HOSTILE, LINES))
FUZZED = 600


def mutated(text: str, rng: random.Random) -> bytes:
    """A sweep file with one to four things wrong with it, or not."""
    lines = text.splitlines()
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(lines))
        how = rng.randrange(8)
        if how == 0:
            del lines[at]
        elif how == 1:
            lines.insert(at, rng.choice(lines))
        elif how == 2:
            lines.insert(at, rng.choice(KEYS))
        elif how in (3, 4) and "=" in lines[at]:
            lines[at] = f"{lines[at].split('=')[0]}= {rng.choice(VALUES)}"
        elif how == 5:
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(VALUES + KEYS) + lines[at][place + rng.randint(0, 3) :]
        elif how == 6:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            key = rng.choice(["learning_rate", "epochs", "timescale", "seed", "model", "task", "points", "n_units"])
            lines = [f"{key} = {rng.choice(VALUES)}" if line.startswith(f"{key} =") else line for line in lines]
        lines = lines or [""]
    data = "\n".join(lines).encode()
    if rng.random() < 0.1:
        place = rng.randrange(len(data) + 1)
        noise = rng.choice([b"\xef\xbb\xbf", b"\xff", b"\x00", b"\xe9", b"\r", b"\xf0\x9f\x92\xa5", rng.randbytes(3)])
        data = data[:place] + noise + data[place + rng.randint(0, 2) :]
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.05 else data


SAID = (
    *("; allowed: ", "missing; ", "no such ", "has no task", "not valid TOML", "is not UTF-8", "is taken: "),
    *("cannot be read", "more mistakes", "cannot change it", "decide it", " be refined", "write [[axes]] twice"),
)


@pytest.mark.filterwarnings("ignore:.*these are exponents of ten")
def test_a_mutated_sweep_is_read_or_refused_in_clear_lines(tmp_path: Path) -> None:
    rng, refused, planned = random.Random(20), 0, 0
    texts = [path.read_text() for path in sorted(SWEEPS.glob("*.toml"))]
    path = tmp_path / "x.toml"
    for _ in range(FUZZED):
        path.write_bytes(mutated(rng.choice(texts), rng))
        for quick in (False, True):
            try:
                sweep = load(path, quick=quick)
            except UsageError as error:
                refused += 1
                for line in str(error).splitlines():
                    assert line.startswith((f"{path}: ", f"{path}, line ")) and len(line) < 2000, line
                    assert any(words in line for words in SAID), line
                continue
            # What is accepted can be planned, counted and cut for a small machine.
            found = groups.planned(sweep) if sweep.refine is None else []
            assert groups.disk_bytes(found, sweep) >= 0
            if sweep.n_runs <= 2000:
                whole = plan.Plan.of(sweep)
                assert sum(len(chunk.runs) for chunk in plan.chunks(whole, 2, 1e12)) == len(whole.runs)
            planned += 1
    assert refused >= 300 and planned >= 100
    assert sorted(tmp_path.iterdir()) == [path]


TEXT = """
[run]
model = "rank_one"
timescale = 4
n_units = 5
learning_rate = 0.1
epochs = 40
[axes]
seed = { range = 3 }
"""


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load(tmp_path / "x.toml").text == TEXT


@pytest.mark.parametrize(
    "more",
    [
        "[record]\npoints = 1_000_000\n",
        "[[phases]]\nepochs = 2_000_000\n[phases.record]\npoints = 1_000_000\n",
        "[quick]\nseed = { range = 1_000_000 }\n[quick.record]\npoints = 1_000\n",
    ],
)
def test_records_that_no_machine_holds_are_refused(more: str) -> None:
    text = TEXT.replace("epochs = 40", "epochs = 2_000_000").replace("range = 3", "range = 3_000")
    with pytest.raises(UsageError, match="record: found [0-9]+ rows of curves, .*; allowed: at most 100000000"):
        loads(text + more, name="x", quick="quick" in more)


def test_tables_that_the_disk_does_not_hold_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"x: found 1e-07 GB of disk free; allowed: [0-9.e-]+, the tables"):
        ghostsweep.run(loads(TEXT, name="x"), out=tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_place_that_is_read_only_is_told_before_training_and_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = loads(TEXT, name="x")
    done = ghostsweep.run(sweep, out=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    opened = os.open

    def refuse(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *args, **options)

    def refuse_file(path: Path, fill: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(files, "write", refuse_file)
    monkeypatch.setattr(engine, "train_chunks", lambda *_: pytest.fail("trained"))
    assert ghostsweep.run(sweep, out=tmp_path).runs.equals(done.runs)  # nothing to do
    more = loads(TEXT.replace("range = 3", "range = 4"), name="x")
    with pytest.raises(OSError, match="Read-only file system"):
        ghostsweep.run(more, out=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["..", "../x", "/etc/passwd", "a/b", "", "x\0y", "~", "-x", "*", "x.runs", "💥"])
@pytest.mark.parametrize("command", ["run", "status", "analyze", "plot", "show", "export", "report"])
def test_names_that_are_tricks_are_one_line(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = tmp_path / "house" / "out", tmp_path / "x"
    inside.mkdir(parents=True)
    outside.mkdir()
    monkeypatch.chdir(outside)
    options = ["--out", str(inside)] + (["--sweeps", str(tmp_path)] if command in ("run", "status") else [])
    done = CliRunner().invoke(cli.app, [command, *options, "--", name])
    assert isinstance(done.exception, UsageError | SystemExit), done.exception
    assert done.exit_code != 0 and len(str(done.exception).splitlines()) <= 1
    assert not any(inside.iterdir()) and not any(outside.iterdir())


def test_nothing_that_is_read_back_may_hold_code() -> None:
    package = Path(ghostsweep.__file__).parent
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    assert "pickle.load" not in text and "allow_pickle=True" not in text and "import pickle" not in text
    assert text.count("np.load(") == text.count("allow_pickle=False) as") > 0


def test_a_damaged_session_is_named_and_costs_nothing_else(tmp_path: Path) -> None:
    done = ghostsweep.run(loads(TEXT, name="x"), out=tmp_path, shard="1/2")
    (path,) = (tmp_path / "x" / "sessions").iterdir()
    path.write_bytes(path.read_bytes()[:9] + b"\xff")
    with pytest.warns(UserWarning, match=f"{path.name}: not readable"):
        found = ghostsweep.run(loads(TEXT, name="x"), out=tmp_path)
    assert len(done.runs) < len(found.runs) == 3 and len(found.meta["sessions"]) == 1
