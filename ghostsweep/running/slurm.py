"""Sweeps as SLURM job arrays: a job for every shard of which runs are left. Needs submitit (the extra `slurm`)."""

import math
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ghostsweep import plan
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.machine.terminal import duration, forgiving
from ghostsweep.plan import Plan, Shard, groups
from ghostsweep.running import ledger
from ghostsweep.running.sessions import Options
from ghostsweep.running.sweeping import n_shards, run, shard_folder
from ghostsweep.spec import Sweep
from ghostsweep.store import locks, tables
from ghostsweep.training.progress import Progress, harmless

RENAMED = {"name": "job_name", "timeout_min": "time", "mem_gb": "mem", "tasks_per_node": "ntasks_per_node"}
"""What all executors of submitit call a parameter, and what its SLURM executor does."""
OPTIONAL = ("gpus_per_node", "gpus_per_task")
WHOLE = (
    *("time", "nodes", "ntasks_per_node", "cpus_per_task", "cpus_per_gpu", "signal_delay_s", "array_parallelism"),
    *OPTIONAL,
)
"""Parameters that are whole numbers, those in OPTIONAL from 0."""
LISTS = ("setup", "teardown", "srun_args")
ALONE = ("nodes", "ntasks_per_node")
"""Parameters that may be 1 only: every task of a job would train the job's one share, and all but one be refused."""


@dataclass
class Job:
    """What a job of the array does: train one shard; where SLURM ends it before, the same once more."""

    sweep: Sweep
    out: Path
    shard: str
    options: Options
    told: int = field(default=0, init=False)

    def __call__(self) -> None:
        with forgiving():  # a log on a full disk, or without the characters, stops no job
            run(self.sweep, out=self.out, shard=self.shard, progress=harmless(self._tell), **vars(self.options))
            print(f"shard {self.shard} of {self.sweep.name} is done", flush=True)

    def checkpoint(self) -> Any:
        """What is queued instead when the time limit comes near, or another job takes the place."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.sweep, self.out, self.shard, self.options))

    def _tell(self, now: Progress) -> None:
        if now.runs_done > self.told:
            self.told = now.runs_done
            print(f"{now.runs_done:,} / {now.runs:,} runs, {now.seconds_left:.0f} s left", flush=True)


def submit(
    sweep: Sweep,
    slurm: Mapping[str, Any],
    *,
    out: str | Path = "results",
    shards: int | None = None,
    options: Options | None = None,
) -> list[str]:
    """Submit a job array that trains what is missing of a sweep, a job for each shard; return their ids at once.

    `slurm` has the parameters of a job by submitit's names: `partition`, `timeout_min` (5), `gpus_per_node`,
    `cpus_per_task`, `mem_gb`, `account`, `qos`, `constraint`, `array_parallelism` (256), `setup` and so on. Jobs near
    their time limit, or preempted, are queued again, three times at most, and go on from their checkpoints. What
    they print is in `out`/<name>/jobs; how far they are, `status` reads from the folder. Shards that are at work are
    not submitted again. Raises UsageError without SLURM or submitit, for parameters it does not know, and while a
    plain run is at work in the folder; TrainingError where sbatch refuses.
    """
    submitit, folder, given = _submitit(), Path(out).resolve() / sweep.name, parameters(slurm)
    missing, n = _missing(sweep, folder, shards)
    if not missing:
        return []
    try:
        executor = submitit.SlurmExecutor(folder / "jobs")
    except RuntimeError:
        raise UsageError("slurm: no srun here; submit from a machine with SLURM's commands") from None
    _keep_private(folder / "jobs")
    executor.update_parameters(**{"job_name": sweep.name} | given)
    jobs = [Job(sweep, folder.parent, str(Shard(i + 1, n)), options or Options()) for i in missing]
    try:
        return [job.job_id for job in executor.submit_array(jobs)]
    except submitit.core.utils.FailedJobError as error:
        raise TrainingError(f"{folder}: sbatch: {str(error).strip().splitlines()[-1]}") from None


def script(
    sweep: Sweep,
    spec: str | Path,
    slurm: Mapping[str, Any],
    *,
    out: str | Path = "results",
    shards: int | None = None,
    quick: bool = False,
    options: Options | None = None,
) -> str:
    """The batch script of such an array, for users to change and give to sbatch; its jobs run commands on `spec`.

    `quick` says which version of `spec` the sweep is. Writes nothing; the folder `out`/<name>/jobs, where the output
    of the jobs goes, must be there when they start. Raises UsageError as `submit` does.
    """
    submitit, folder, given = _submitit(), Path(out).resolve() / sweep.name, parameters(slurm)
    for option, path in (("--out", folder), ("sweep", Path(spec).resolve())):
        if not str(path).isprintable():  # a second line would be a command of the script
            raise UsageError(f"{option}: found {str(path)!r}; allowed with --print-sbatch: no control characters")
    missing, n = _missing(sweep, folder, shards)
    if not missing:
        return f"# {sweep.name}: nothing is left to train\n"
    asked = options or Options()
    arguments = ["--quick"] * quick + ["--checkpoint-seconds", f"{asked.checkpoint_seconds:g}"]
    arguments += ["--expect", sweep.digest]  # each job reads the files anew
    arguments += [] if asked.memory_bytes is None else ["--memory-gb", f"{asked.memory_bytes / 1e9:g}"]
    arguments += [] if asked.devices is None else ["--devices", str(asked.devices)]
    arguments += ["--persistent"] * asked.persistent
    words = [sys.executable, "-m", "ghostsweep", "run", str(Path(spec).resolve()), "--out", str(folder.parent)]
    more = given.pop("additional_parameters", {})
    note = f"# Before this is submitted: mkdir -p -m 700 {shlex.quote(str(folder / 'jobs'))}"
    core_seconds = sum(group.seconds for group in groups.of(Plan.of(sweep))) / n
    limit = f"# A share takes about {duration(core_seconds)} of one core; --time is timeout_min, 5 unless it is given."
    numbers = f"shards=({' '.join(str(i + 1) for i in missing)})"
    text: str = submitit.slurm.slurm._make_sbatch_string(  # as submitit has it, but for the command
        command=f'{shlex.join([*words, *arguments])} --shard "${{shards[$SLURM_ARRAY_TASK_ID]}}/{n}"',
        folder=folder / "jobs",
        map_count=len(missing),
        **{"job_name": sweep.name} | given | {"setup": [note, limit, *given.get("setup", []), numbers]},
        additional_parameters={"signal": f"TERM@{given.get('signal_delay_s', 90)}"} | more,
    )
    return text


def _missing(sweep: Sweep, folder: Path, shards: int | None) -> tuple[list[int], int]:
    """The shards, from 0, of which runs are left and that nobody is at, and how many shards there are."""
    if holder := locks.is_locked(folder):
        raise UsageError(f"{folder}: a run is at work there ({holder}); submit when it has ended")
    whole = Plan.of(sweep)
    n = n_shards(whole, shards)
    left = ledger.work(whole, tables.stored(folder, asked=ledger.asked(whole.sweep))).left
    shard_of = pd.Series(plan.shards(whole, n), whole.runs["run_id"])
    missing: list[int] = np.unique(shard_of[left.runs["run_id"]]).tolist()
    return [i for i in missing if not locks.is_locked(shard_folder(folder, Shard(i + 1, n)))], n


def _keep_private(folder: Path) -> None:
    """Make the folder of a job's files, for its user alone; UsageError where others could write in it.

    submitit puts pickles there, and what is unpickled runs as whoever submitted the job.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return
    about = folder.lstat()
    if stat.S_ISLNK(about.st_mode) or not stat.S_ISDIR(about.st_mode):
        found = "a link, or no folder"
    elif about.st_uid != os.geteuid():
        found = f"a folder of another user ({about.st_uid})"
    elif about.st_mode & 0o022:
        found = f"mode {stat.S_IMODE(about.st_mode):o}"
    else:
        return
    raise UsageError(
        f"{folder}: found {found}; allowed: a folder of yours that no other can write to, since jobs run what is "
        f"pickled there: chmod go-w, or remove it"
    )


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UsageError("slurm: submitit is not installed: pip install 'ghostsweep[slurm]'") from None
    return submitit


def parameters(slurm: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a job as submitit's SLURM executor takes them, from the names of all its executors or its own.

    Raises UsageError for a name that it does not know, two names of one parameter, and a value that cannot be.
    """
    valid = (_submitit().SlurmExecutor._valid_parameters() | set(RENAMED)) - {"num_gpus", "job_name"}
    if unknown := sorted(set(slurm) - valid):
        raise UsageError(f"slurm: found {', '.join(unknown)}; allowed: {', '.join(sorted(valid))}")
    found: dict[str, Any] = {}
    for given, value in slurm.items():
        name = RENAMED.get(given, given)
        if name in found:
            raise UsageError(f"slurm.{given}: found {value!r}, and {name} too; allowed: one of them")
        if name in ALONE and value != 1:
            raise UsageError(f"slurm.{given}: found {value!r}; allowed: 1, for each job is one task; see --shards")
        allowed, fits = _kind(given if given == "mem_gb" else name)
        if not fits(value):
            raise UsageError(f"slurm.{given}: found {value!r}; allowed: {allowed}")
        found[name] = f"{value}GB" if given == "mem_gb" else value
    return {"wckey": None} | found  # submitit's own, unless another is given


def _kind(name: str) -> tuple[str, Callable[[Any], bool]]:
    """What a parameter may be, in words and as a test."""
    if name in WHOLE:
        least = int(name not in OPTIONAL)
        return f"a whole number from {least}", lambda value: type(value) is int and value >= least
    if name == "mem_gb":
        return "a number above 0", lambda value: type(value) in (int, float) and 0 < value < math.inf
    if name in LISTS:
        return "a list of texts, from Python", lambda value: isinstance(value, list)
    if name == "additional_parameters":
        return "a table, from Python", lambda value: isinstance(value, dict)
    return (
        "a text without spaces, or true",
        lambda value: value in (True, None) or bool(re.fullmatch(r"\S+", str(value))),
    )


def parse(text: str) -> dict[str, Any]:
    """Parameters as the command line has them: name=value,name=value; values may have commas. Empty: none."""
    found: dict[str, Any] = {}
    for item in filter(None, re.split(r",(?=\w+=)", text)):
        name, is_given, value = item.partition("=")
        if not is_given or not name or not value or name in found:
            raise UsageError(f"slurm: found {item!r}; allowed: name=value,name=value,... each once")
        try:
            number = float(value)
            found[name] = int(number) if value.lstrip("-").isdecimal() else number
        except ValueError:
            found[name] = {"true": True, "false": None}.get(value.lower(), value)
    return found
