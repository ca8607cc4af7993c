"""Job arrays on a real SLURM of one node: submitted, killed, preempted, and submitted again."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_node
from cluster import FINISHED, OPTIONS, SHORT, TEXT, assert_same, kill_in_a_chunk, names, status, sweep_of
from typer.testing import CliRunner

import ghostsweep
from ghostsweep import UsageError, cli
from ghostsweep.running import ledger, sessions, slurm
from ghostsweep.store import tables


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A real SLURM, and submitit to use it."""
    pytest.importorskip("submitit", reason="pip install 'ghostsweep[slurm]'")
    if reason := slurm_node.missing():
        pytest.skip(f"no SLURM here: {reason}")
    with slurm_node.running() as folder:
        yield folder


def run_command(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["run", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def no_jobs() -> bool:
    return not slurm_node.output("squeue", "-h").strip()


def test_a_job_array_of_which_one_job_is_killed(whole: tables.Tables, node: Path, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(TEXT)
    folder = tmp_path / "out" / "x"
    command = [str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), "--slurm", "partition=test,timeout_min=20"]
    command += ["--shards", "2", "--devices", "1", "--checkpoint-seconds", "0"]
    began = time.process_time()
    assert "submitted 2 jobs" in run_command(*command)
    assert time.process_time() - began < 20 and not (folder / "runs.parquet").exists()
    assert (folder / "jobs").stat().st_mode & 0o777 == 0o700
    slurm_node.wait(lambda: len(ledger.activity("x", tmp_path / "out").at_work) == 2, 60, "both jobs to be at work")
    assert "nothing to submit: all runs are done, or at work" in run_command(*command)
    kill_in_a_chunk(folder)
    slurm_node.wait(no_jobs, 200, "jobs to end")
    said = status(tmp_path, "x")
    assert "(partial)" in said and "finished chunks wait" in said
    assert "submitted 1 jobs" in run_command(*command)
    slurm_node.wait(no_jobs, 200, "jobs to end")
    assert_same(tables.read("x", tmp_path / "out"), whole)
    assert names(folder) == sorted([*FINISHED, "jobs"])
    logs = "".join(path.read_text() for path in (folder / "jobs").glob("*.out"))
    assert "shard 1/2 of x is done" in logs and "shard 2/2 of x is done" in logs


@pytest.mark.seldom
def test_a_preempted_job_is_queued_again_and_goes_on(node: Path, tmp_path: Path) -> None:
    sweep, options = sweep_of(TEXT), sessions.Options(checkpoint_seconds=0.0, devices=1)
    (job,) = slurm.submit(sweep, {"timeout_min": 20}, out=tmp_path, shards=1, options=options)
    slurm_node.wait(lambda: any((tmp_path / "x").glob("checkpoints/*.npz")), 120, "a checkpoint")
    subprocess.run(["scancel", "--signal=USR2", job], check=True)  # as SLURM does before it takes the place away
    slurm_node.wait(lambda: "PENDING" in slurm_node.output("squeue", "-h", "-o", "%T"), 30, "the job to be queued")
    subprocess.run(["scontrol", "update", f"jobid={job}", "StartTime=now"], check=True)
    slurm_node.wait(no_jobs, 200, "the job to end")
    found = tables.read("x", tmp_path)
    assert len(found.runs) == 24 and len(found.meta["sessions"]) == 2
    assert "this job is preempted" in "".join(path.read_text() for path in found.folder.glob("jobs/*.err"))


def test_a_printed_script_is_one_that_sbatch_takes(node: Path, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(SHORT)
    command = [str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), "--print-sbatch", "--shards", "2"]
    ghostsweep.run(sweep_of(), out=tmp_path / "out", shard="1/2", **OPTIONS)
    script = run_command(*command, "--slurm", "partition=test,mem_gb=1", "--devices", "1")
    assert "#SBATCH --array=0-0%1" in script and "shards=(2)" in script and "#SBATCH --mem=1GB" in script
    assert not (tmp_path / "out" / "x" / "jobs").exists()
    (note,) = (line for line in script.splitlines() if line.startswith("# Before"))
    subprocess.run(note.split(": ")[1], shell=True, check=True)
    (tmp_path / "script").write_text(script)
    subprocess.run(["sbatch", str(tmp_path / "script")], check=True, capture_output=True)
    slurm_node.wait(no_jobs, 120, "the job to end")
    assert len(tables.read("x", tmp_path / "out").runs) == 24
    assert run_command(*command) == "# x: nothing is left to train\n\n"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--slurm", "partition"], "slurm: found 'partition'; allowed: name=value"),
        (["--slurm", "a=1,a=2"], "slurm: found 'a=2'; allowed: name=value"),
        (["--slurm", "gpus=1"], "slurm: found gpus; allowed: .*gpus_per_node"),
        (["--slurm", "partition=x"], "slurm: no srun here"),
        (["--slurm", "timeout_min=abc"], "slurm.timeout_min: found 'abc'; allowed: a whole number from 1"),
        (["--slurm", "timeout_min=0"], "slurm.timeout_min: found 0; allowed: a whole number from 1"),
        (["--slurm", "nodes=2"], "slurm.nodes: found 2; allowed: 1, for each job is one task; see --shards"),
        (["--slurm", "tasks_per_node=2"], "slurm.tasks_per_node: found 2; allowed: 1, for each job is one task"),
        (["--slurm", "ntasks_per_node=8"], "slurm.ntasks_per_node: found 8; allowed: 1, for each job is one task"),
        (["--slurm", "nodes=true"], "slurm.nodes: found True; allowed: a whole number from 1"),
        (["--slurm", "gpus_per_node=-1"], "slurm.gpus_per_node: found -1; allowed: a whole number from 0"),
        (["--slurm", "mem_gb=lots"], "slurm.mem_gb: found 'lots'; allowed: a number above 0"),
        (["--slurm", "mem_gb=nan"], "slurm.mem_gb: found nan; allowed: a number above 0"),
        (["--slurm", "mem_gb=3,mem=4G"], "slurm.mem: found '4G', and mem too; allowed: one of them"),
        (["--slurm", "setup=module load"], "slurm.setup: found 'module load'; allowed: a list of texts, from Python"),
        (["--slurm", "additional_parameters=x"], "slurm.additional_parameters: found 'x'; allowed: a table"),
        (["--slurm", "partition=a gpus_per_node=1"], "slurm.partition: found 'a gpus_per_node=1'; allowed: a text"),
        (["--slurm", "num_gpus=1"], "slurm: found num_gpus; allowed: "),
        (["--slurm", "foo=1", "--dry-run"], "slurm: found foo; allowed: "),
        (["--shard", "0/3", "--dry-run"], "shard: found '0/3'; allowed: i/n"),
        (["--shards", "2"], "--shards: only with"),
        (["--shard", "1/2", "--print-sbatch"], "--shard: not together with --slurm"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="pip install 'ghostsweep[slurm]'")
    monkeypatch.setenv("PATH", "")
    (tmp_path / "x.toml").write_text(SHORT)
    with pytest.raises(UsageError, match=found):
        CliRunner().invoke(
            cli.app, ["run", str(tmp_path / "x.toml"), "--out", str(tmp_path / "out"), *options], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out\ntouch stolen", "a\rb", "a\x1b[2Jb", "a\u2028b"])
def test_a_path_of_two_lines_is_no_command_of_a_script(name: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="pip install 'ghostsweep[slurm]'")
    with pytest.raises(UsageError, match="--out: found '.*'; allowed with --print-sbatch: no control") as caught:
        slurm.script(sweep_of(SHORT), tmp_path / "x.toml", {}, out=tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UsageError, match="sweep: found '.*'; allowed with --print-sbatch: no control characters"):
        slurm.script(sweep_of(SHORT), tmp_path / name / "x.toml", {}, out=tmp_path)
    quoted = slurm.script(sweep_of(SHORT), tmp_path / "x.toml", {}, out=tmp_path / "a 'b' $(c)")
    assert "mkdir -p -m 700 " in quoted and not any(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
def test_what_jobs_unpickle_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "x" / "jobs"
    before = os.umask(0o002)
    try:
        slurm._keep_private(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    slurm._keep_private(folder)
    for mode in (0o770, 0o702, 0o777):
        folder.chmod(mode)
        with pytest.raises(UsageError, match=f"jobs: found mode {mode:o}; allowed: a folder of yours"):
            slurm._keep_private(folder)
    folder.chmod(0o755)
    slurm._keep_private(folder)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UsageError, match=r"jobs: found a folder of another user \(\d+\); allowed: "):
        slurm._keep_private(folder)
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(UsageError, match="link: found a link, or no folder; allowed: "):
        slurm._keep_private(tmp_path / "link")


def test_jobs_are_submitted_only_from_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit", reason="pip install 'ghostsweep[slurm]'")
    modes = []

    def submit(self: Any, jobs: Any) -> list[Any]:
        modes.append(self.folder.stat().st_mode & 0o777)
        return []

    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 2))
    monkeypatch.setattr(submitit.SlurmExecutor, "submit_array", submit)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert slurm.submit(sweep_of(SHORT), {}, out=tmp_path, shards=1) == []
    (tmp_path / "x" / "jobs").chmod(0o777)
    with pytest.raises(UsageError, match="found mode 777"):
        slurm.submit(sweep_of(SHORT), {}, out=tmp_path, shards=1)
    assert modes == [0o700]


def test_the_log_of_a_job_takes_any_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def run(sweep: Any, **options: Any) -> None:
        asked.update(options)
        print("η", flush=True)
        print("η", file=sys.stderr, flush=True)

    monkeypatch.setattr(slurm, "run", run)
    with open(tmp_path / "log", "w", encoding="ascii") as log, open(os.devnull) as unwritable:
        monkeypatch.setattr(sys, "stdout", log)
        monkeypatch.setattr(sys, "stderr", unwritable)
        slurm.Job(sweep_of(SHORT), tmp_path, "1/1", sessions.Options())()
    assert (tmp_path / "log").read_text() == "\\u03b7\nshard 1/1 of x is done\n" and asked["shard"] == "1/1"


def test_values_may_have_commas_and_a_share_is_previewed(tmp_path: Path) -> None:
    assert slurm.parse("constraint=a100,h100,exclusive=true,mem_gb=1.5,time=9") == {
        "constraint": "a100,h100", "exclusive": True, "mem_gb": 1.5, "time": 9
    }  # fmt: skip
    (tmp_path / "x.toml").write_text(SHORT)
    asked = ["--out", str(tmp_path / "out"), "--dry-run", "--no-calibrate", "--shard", "1/4"]
    assert "x: 6 runs, 0 done, 6 to train" in run_command(str(tmp_path / "x.toml"), *asked)


def test_slurm_without_submitit_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"submitit is not installed: pip install 'ghostsweep\[slurm\]'"):
        slurm.submit(sweep_of(), {}, out=tmp_path)
    assert not any(tmp_path.iterdir())
