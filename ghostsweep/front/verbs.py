"""The verbs of the package: what the command line does, for results in whatever form they are."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ghostsweep import analysis, drawing
from ghostsweep.analysis import Criteria, analyzing
from ghostsweep.front import reducing
from ghostsweep.front.progress import Tell, shown
from ghostsweep.front.results import Results, Tables, first_field, runs_of, tables_of
from ghostsweep.running import finding, ledger, sweeping
from ghostsweep.spec import Sweep
from ghostsweep.spec import load as load_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Asked = str | Path | Sweep
"""The name of a sweep, a sweep file, or a Sweep."""


def load(sweep: Asked, *, quick: bool = False, sweeps: str | Path = finding.OWN, execute: bool = True) -> Sweep:
    """Read a sweep by its name or from a file: see `ghostsweep.spec.load`."""
    if isinstance(sweep, Sweep):
        return sweep
    is_file = Path(sweep).suffix == ".toml"
    return load_file(sweep if is_file else finding.find(sweep, sweeps), quick=quick, execute=execute)


def run(sweep: Asked, *, progress: bool | Tell = True, **options: Any) -> Tables:
    """Train what is missing of a sweep and return its tables: see `ghostsweep.running.sweeping.run`.

    progress: a bar in terminals and notebooks; False for none, or a function that is called with a Progress.
    """
    with shown(progress) as tell:
        return tables_of(sweeping.run(sweep, progress=tell, **options))


def read(results: Results, out: str | Path = "results", *, quick: bool = False) -> Tables:
    """The tables of a sweep by its name, or of a result folder. Raises UsageError where there are none."""
    return tables_of(results, out, quick=quick)


def status(
    sweep: Asked, out: str | Path = "results", *, quick: bool = False, sweeps: str | Path = finding.OWN
) -> ledger.Status:
    """How much of a sweep is done, and what the rest costs: see `ghostsweep.running.ledger.status`."""
    return ledger.status(load(sweep, quick=quick, sweeps=sweeps, execute=False), out)


def list_sweeps(folder: str | Path = finding.OWN, *, out: str | Path = "results") -> pd.DataFrame:
    """All sweeps, one's own and those of the package, a row each: name, question, runs, done, state.

    Those that cannot be read are named in a warning.
    """
    broken, found = list[str](), list[ledger.Status]()
    for path in finding.sweep_files(folder):
        with finding.apart(Path(out) / path.stem, broken):
            found.append(ledger.status(load_file(path, execute=False), out))
    if broken:
        warnings.warn("; ".join(broken), stacklevel=2)
    return pd.DataFrame(
        {
            "sweep": [state.sweep.name for state in found],
            "question": [state.sweep.title for state in found],
            "runs": [state.runs for state in found],
            "done": [state.done for state in found],
            "state": [state.state for state in found],
        }
    )


def analyze(results: Results, *, out: str | Path = "results", share: float | None = None) -> analyzing.Analyzed:
    """Boundaries and bands of every cell and the laws through them: see `ghostsweep.analysis.analyzing.Analyzed`."""
    if isinstance(results, pd.DataFrame):
        return analyzing.analyze_runs(results, share=0.5 if share is None else share)
    return tables_of(results, out).analyze(share=share)


def outcomes(results: Results, criteria: Criteria | None = None, *, out: str | Path = "results") -> pd.DataFrame:
    """The runs with what became of each in a column `outcome`: see `ghostsweep.analysis.outcomes`.

    That is one of the eight that boundaries and bands are of. Where a task declares outcomes of its own, as
    `dcdt_onehot` does, they are beside it in a column `task_outcome`, null for runs of other tasks: see
    `ghostsweep.analysis.with_task_outcome`. What those mean is in `.attrs["meanings"]`; `criteria` do not touch them.
    """
    return analysis.with_task_outcome(analysis.outcomes(runs_of(results, out)[0], *([criteria] if criteria else [])))


def critical_lr(
    results: Results, *, out: str | Path = "results", share: float | None = None, **options: Any
) -> pd.DataFrame:
    """Upper and lower boundary of every cell: see `ghostsweep.analysis.critical_lr`.

    share: of seeds at which a boundary lies; by default what the sweep says, of a frame of runs half of them.
    """
    runs, said = runs_of(results, out)
    return analysis.critical_lr(runs, share=said if share is None else share, **options)


def learnable_band(
    results: Results, *, out: str | Path = "results", share: float | None = None, **options: Any
) -> pd.DataFrame:
    """The rates at which at least `share` of the seeds of each cell learn: see `ghostsweep.analysis.learnable_band`.

    share: by default what the boundaries leave, 1 less that of `critical_lr`.
    """
    runs, said = runs_of(results, out)
    return analysis.learnable_band(runs, share=1 - said if share is None else share, **options)


def reduce(results: Results, *, out: str | Path = "results") -> pd.DataFrame:
    """Each snapshot of each run, reduced to the canonical form: a row per run, epoch and kind of trial that switches.

    Columns: run_id, epoch, trial; loss and grad_norm; due, T, and time, t, the switch of target and output, in steps; s
    = (T / t)^2; s_grad_norm; eta, the one scale parameter of the canonical form, and eta_critical, above which a step
    can lead out of the trial; lr_critical, the learning rate at which it is that; canonical_loss; cosine and
    norm_ratio, the loss's gradient held against the canonical one; fields of the runs. What they mean and how they
    follow is in `ghostsweep.training.reduction`. `analysis.predicted` and `analysis.compare_predicted` go on from it.

    Of a folder without runs, the reduction that it keeps. Raises UsageError for results without snapshots, for models
    without outputs, and for tasks whose targets do not switch.
    """
    found = reducing.kept(results, out)
    return tables_of(results, out).reduce() if found is None else found


def _cells(results: Results, out: str | Path) -> pd.DataFrame:
    """A table of critical rates as it is; else that of the runs."""
    if isinstance(results, pd.DataFrame) and "lr_critical" in results:
        return results
    return critical_lr(results, out=out)


def fit_power_law(
    results: Results, *, x: str | None = None, out: str | Path = "results", **options: Any
) -> pd.DataFrame:
    """The power law of the critical rates along x: see `ghostsweep.analysis.fit_power_law`.

    results: a table of `critical_lr`, or what that takes. x: by default the first field of numbers that varies.
    """
    cells = _cells(results, out)
    return analysis.fit_power_law(cells, x=x or first_field(cells), **options)


def local_exponent(
    results: Results, *, x: str | None = None, out: str | Path = "results", **options: Any
) -> pd.DataFrame:
    """Exponents between neighbours along x: see `ghostsweep.analysis.local_exponent`."""
    cells = _cells(results, out)
    return analysis.local_exponent(cells, x=x or first_field(cells), **options)


def compare_scaling(
    results: Results, *, x: str | None = None, out: str | Path = "results", **options: Any
) -> pd.DataFrame:
    """The power law against its rivals along x: see `ghostsweep.analysis.compare_scaling`."""
    cells = _cells(results, out)
    return analysis.compare_scaling(cells, x=x or first_field(cells), **options)


def phase_diagram(results: Results, *, x: str | None = None, out: str | Path = "results", **options: Any) -> "Figure":
    """What became of training over two fields: see `ghostsweep.figures.phase_diagram`."""
    from ghostsweep import figures

    runs, share = runs_of(results, out)
    x = x or first_field(runs)
    if options.get("y", "learning_rate") == "learning_rate" and "critical" not in options:
        options["critical"] = analysis.critical_lr(runs, share=share)
    return figures.phase_diagram(runs, x=x, **options)


def band_plot(results: Results, *, x: str | None = None, out: str | Path = "results", **options: Any) -> "Figure":
    """The learnable band along x: see `ghostsweep.figures.band_plot`. results: also a table of `learnable_band`."""
    from ghostsweep import figures

    is_band = isinstance(results, pd.DataFrame) and "width_decades" in results
    band = results if isinstance(results, pd.DataFrame) and is_band else learnable_band(results, out=out)
    return figures.band_plot(band, x=x or first_field(band), **options)


def scaling_plot(
    results: Results,
    law: pd.DataFrame | None = None,
    *,
    x: str | None = None,
    out: str | Path = "results",
    **options: Any,
) -> "Figure":
    """Critical rates along x with their law: see `ghostsweep.figures.scaling_plot`. results: also of `critical_lr`."""
    from ghostsweep import figures

    cells = _cells(results, out)
    x = x or first_field(cells)
    return figures.scaling_plot(cells, law, x=x, **options)


def plot(
    results: Results,
    *,
    out: str | Path = "results",
    to: str | Path = "figures",
    sweeps: str | Path = finding.OWN,
    quick: bool = False,
) -> list[Path]:
    """Draw a paper figure (`fig1` to `fig8`) or every figure that the tables of a sweep allow; return the files."""
    if isinstance(results, str | Path):
        return drawing.plot(f"{results}-quick" if quick else str(results), out=out, to=to, sweeps=sweeps)
    return tables_of(results, out).plot(to)
