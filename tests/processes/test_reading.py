"""What reads executes nothing: code lies wherever a name could be looked up, and no verb that reads runs any of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ghostsweep import UsageError
from ghostsweep.spec import Run, code
from ghostsweep.store import manifest, recovery

RESULTS = Path(__file__).parents[2] / "results"
TRAP = "from pathlib import Path\nPath(r'{ran}').open('a').write(__file__ + '\\n')\nraise SystemExit(9)\n"
REFERENCES = ("evilpkg.mod:NAME", "evilpkg.deep.mod:NAME", "evil.py", "evil.py:NAME", "this.x:NAME", "nowhere.x:NAME")
SWEEP = """
[run]
model = "{model}"
epochs = 9
[axes]
learning_rate = [0.1, 0.2, 0.3]
"""
VERBS = """
import sys
import ghostsweep
from ghostsweep.cli import main

found = ghostsweep.read("h0")
repr(found), ghostsweep.status("h0"), ghostsweep.list_sweeps(), found.analyze(), ghostsweep.show({run!r})
for words in ("list", "status", "analyze h0", "plot h0", "export h0", "show {run}", "curves {run}", "report h0",
              "findings", "fields canonical", "status h1", "analyze h2", "status --sweeps none"):
    sys.argv = ["ghostsweep", *words.split()]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, 2), (words, end.code)
"""


def planted(folder: Path, ran: Path) -> None:
    """Code under every name that is looked up from here."""
    for name in ("evil.py", "evilpkg/__init__.py", "evilpkg/mod.py", "evilpkg/deep/__init__.py", "evilpkg/deep/mod.py",
                 "nowhere.py", "gru.py", "altair_viewer.py", "jax_plugins/evil/__init__.py"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TRAP.format(ran=ran))
    (folder / "evil-1.dist-info").mkdir()
    groups = ("jax_plugins", "matplotlib.backend", "pandas_plotting_backends", "altair.vegalite.v5.theme", "console")
    (folder / "evil-1.dist-info/entry_points.txt").write_text(
        "".join(f"[{each}]\nevil = evil:NAME\n" for each in groups)
    )
    (folder / "evil-1.dist-info/METADATA").write_text("Name: evil\nVersion: 1\n")


def named(folder: Path, model: str) -> str:
    """Let the meta.json and the tables of results name a model of somebody's; the id of one of their runs."""
    current = manifest.read(folder)
    assert current is not None
    text = SWEEP.format(model=model)
    kept = {"kind": "model", "attribute": "NAME", "name": "evil@1", "digest": "0", "version": "1", "text": "0/0"}
    about = {**current.about, "spec": text, "code": {model: kept}}
    table = pq.read_table(folder / "runs.parquet")
    table = table.set_column(table.column_names.index("model"), "model", [[model] * len(table)])
    metadata = {**table.schema.metadata, recovery.METADATA: str(about).encode(), b"code": model.encode()}
    pq.write_table(table.replace_schema_metadata(metadata), folder / "runs.parquet")
    data = (folder / "runs.parquet").read_bytes()
    entry = manifest.entry_of(data, "runs", rows=len(table))
    manifest.write(folder, manifest.replace(current, about=about, files={**current.files, "runs.parquet": entry}))
    return str(table["run_id"][0].as_py())


def test_no_verb_that_reads_executes_what_is_found_by_a_name(tmp_path: Path) -> None:
    ran, work, path = tmp_path / "ran", tmp_path / "work", tmp_path / "path"
    for number, model in enumerate(REFERENCES):
        (work / "sweeps").mkdir(parents=True, exist_ok=True)
        (work / f"sweeps/h{number}.toml").write_text(SWEEP.format(model=model))
        if number < 3:
            shutil.copytree(RESULTS / "gru_lr_delay", work / f"results/h{number}")
            run = named(work / f"results/h{number}", model)
    for folder in (work, work / "sweeps", work / "results/h0", path):
        planted(folder, ran)
    script = tmp_path / "verbs.py"
    script.write_text(VERBS.format(run=run))
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, script], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    for name in ("numpy", "pandas", "typer", "rich", "jax", "pydantic"):  # of the current folder, where -m looks
        (work / f"{name}.py").write_text(TRAP.format(ran=ran))
    command = [sys.executable, "-m", "ghostsweep", "list"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "h0" in done.stdout and "nowhere.x:NAME" in done.stderr
    assert not ran.exists(), ran.read_text()


def test_a_table_names_no_file_that_would_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planted(tmp_path, tmp_path / "ran")
    with pytest.raises(UsageError, match="model: found 'evil.py'; allowed in a table"):
        Run.of({"model": "evil.py", "learning_rate": 0.1, "epochs": 1})
    assert not (tmp_path / "ran").exists()


def test_a_module_is_found_where_python_would_find_it_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(tmp_path, tmp_path / "ran")
    (tmp_path / "spread/inner").mkdir(parents=True)  # packages without a text of their own
    (tmp_path / "spread/inner/mod.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert code.located("evilpkg.deep.mod") == tmp_path / "evilpkg/deep/mod.py"
    assert code.located("spread.inner.mod") == tmp_path / "spread/inner/mod.py"
    assert code.located("json.decoder") is not None
    for name in ("this.x", "evilpkg.none", "nowhere.at.all", "", ".", "sys", "evilpkg..mod"):
        assert code.located(name) is None, name
    assert not (tmp_path / "ran").exists() and "evilpkg" not in sys.modules


def test_a_file_from_elsewhere_is_named_before_it_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(code, "TOLD", [said.append])
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"raise ValueError('{folder}')\n")
    monkeypatch.chdir(tmp_path / "here")
    for folder in ("here", "there"):
        with pytest.raises(UsageError, match=folder):
            code.read("model", "own.py", tmp_path / folder).load()
    kept = {"kind": "model", "attribute": "", "text": "raise ValueError('stored')\n"}
    (stored,) = code.Code.of_results({"code": {"own.py": kept}})
    with pytest.raises(UsageError, match="stored"):
        stored.load()
    assert said == [str(tmp_path / "there/own.py"), "own.py (as stored)"]


def test_a_pipe_or_device_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    for name in ("pipe.py", "zero.py"):
        with pytest.raises(UsageError, match=f"{name}: cannot be read: no plain file"):
            code.read("model", name, tmp_path)
    (tmp_path / "own.py").write_text("import pipe, zero\n")
    assert code.read("model", "own.py", tmp_path).modules == ()
