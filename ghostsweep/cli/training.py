"""The command that trains: run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ghostsweep.cli.app import OutOption, QuietOption, SweepsOption, app, sweep_names
from ghostsweep.cli.console import estimate_record, note, print_estimate, print_jobs, say, silent, train
from ghostsweep.cli.printing import print_json
from ghostsweep.errors import TrainingError, UsageError
from ghostsweep.plan import Shard
from ghostsweep.running import estimating, finding
from ghostsweep.running import slurm as jobs
from ghostsweep.running.sessions import Options
from ghostsweep.spec import load
from ghostsweep.training.checkpoint import CHECKPOINT_SECONDS


class RunFormat(StrEnum):
    """How `run` prints."""

    table = "table"
    json = "json"


@app.command("run")
def run_command(
    specs: Annotated[
        list[str],
        typer.Argument(help="Sweeps to train: names below sweeps/, or .toml files.", autocompletion=sweep_names),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Ask the file's [quick] version, into NAME-quick.")] = False,
    out: OutOption = Path("results"),
    sweeps: SweepsOption = Path("sweeps"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print groups, time, memory and disk; train and write nothing.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Whether a dry run times a few epochs here, for about 5 s, or takes known constants.")
    ] = True,
    devices: Annotated[
        int | None, typer.Option(min=1, help="How many GPUs, or else CPU cores, to use. Default: all.")
    ] = None,
    persistent: Annotated[
        bool,
        typer.Option("--persistent", help="Keep each run of rank_one in one kernel of a GPU from report to report."),
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="How much work a kill may cost, in seconds of training.")
    ] = CHECKPOINT_SECONDS,
    memory_gb: Annotated[
        float | None, typer.Option(min=0, help="GB of memory that training may take. Default: half of what is free.")
    ] = None,
    shard: Annotated[str | None, typer.Option("--shard", metavar="I/N", help="Train one of N fixed shares.")] = None,
    slurm: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE,...", help="Submit a SLURM job for each share with runs left, and return."),
    ] = None,
    print_sbatch: Annotated[
        bool, typer.Option("--print-sbatch", help="Print the script of the job array instead, to change and submit.")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Shares for SLURM. Default: one for each minute that a core takes.")
    ] = None,
    style: Annotated[
        RunFormat, typer.Option("--format", help="How to print what came of it, or would.")
    ] = RunFormat.table,
    quiet: QuietOption = False,
    expect: Annotated[str | None, typer.Option(hidden=True, help="Train only this text of the sweep's files.")] = None,
) -> None:
    """Train what is missing of each sweep and write its tables. Never draws.

    Runs that are already in the results are reused, also after the sweep has grown. Ctrl-C keeps all that is
    done; after it, and after a kill, the same command goes on from there. Runs that cannot be trained are listed at
    the end with a file that says why, and do not stop the others.

    How far it is goes to standard error, what came of it to standard output: with --format json an object whose
    `sweeps` tells of each, for --dry-run too, in seconds and bytes as the names say.

    Several machines that share the results folder can train one sweep. Without a scheduler, run --shard 1/4, 2/4,
    3/4 and 4/4, each once and in any order; again, where one was killed. The last one to end puts the tables together.
    On a cluster, --slurm submits a job array of what is missing, with the parameters of submitit (partition,
    timeout_min: 5 unless given, gpus_per_node, cpus_per_task, mem_gb, account, qos, array_parallelism and others),
    and returns; `ghostsweep status` tells how far it is, and the same command submits what failed once more. A refined
    sweep wants such commands once a level.

    Example: ghostsweep run canonical_lr_timescale

    Example: ghostsweep run fig6b_rank --slurm partition=gpu,timeout_min=240 --shards 32
    """
    if shard is not None and (slurm is not None or print_sbatch):
        raise UsageError("--shard: not together with --slurm or --print-sbatch")
    if shards is not None and slurm is None and not print_sbatch:
        raise UsageError("--shards: only with --slurm or --print-sbatch")
    if style is RunFormat.json and (slurm is not None or print_sbatch):
        raise UsageError("--format json: not together with --slurm or --print-sbatch")
    memory_bytes = None if memory_gb is None else memory_gb * 1e9
    if print_sbatch and len(specs) > 1:
        raise UsageError(f"--print-sbatch: found {len(specs)} sweeps; a script is of one")
    options = Options(checkpoint_seconds, memory_bytes, devices, persistent)
    share = None if shard is None else Shard.parse(shard)
    job = jobs.parameters(jobs.parse(slurm or "")) if slurm is not None or print_sbatch else {}
    paths = [finding.find(spec, sweeps) for spec in specs]
    tell = silent if quiet else say if style is RunFormat.table else note
    failed, done = [], list[dict[str, Any]]()
    for path, sweep in [(path, load(path, quick=quick)) for path in paths]:
        if expect not in (None, sweep.digest):
            raise UsageError(
                f"{path}: found another text of it or of its models and tasks ({sweep.digest}) than the script was "
                f"made for ({expect}); --print-sbatch makes a new one"
            )
        try:
            if dry_run:
                found = estimating.estimate(
                    sweep,
                    out=out,
                    calibrate=calibrate,
                    devices=devices,
                    memory_bytes=memory_bytes,
                    shard=share,
                    persistent=persistent,
                )
                done.append(estimate_record(found))
                if style is RunFormat.table and not quiet:
                    print_estimate(found)
            elif print_sbatch:
                print(jobs.script(sweep, path, job, out=out, shards=shards, quick=quick, options=options))
            elif slurm is not None:
                print_jobs(sweep, out, jobs.submit(sweep, job, out=out, shards=shards, options=options))
            else:
                done.append(train(sweep, out, tell, shard=shard, **vars(options)))
        except TrainingError as error:
            failed.append(str(error))
    if style is RunFormat.json:
        print_json({"sweeps": done})
    if failed:
        raise TrainingError("\n".join(failed))
