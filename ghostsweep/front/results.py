"""Results in whatever form they are given, and tables with the analyses and figures as methods."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ghostsweep import analysis, drawing
from ghostsweep.analysis import analyzing
from ghostsweep.errors import UsageError
from ghostsweep.front import reducing, views
from ghostsweep.running import lacking
from ghostsweep.spec import Run
from ghostsweep.spec.code import Code
from ghostsweep.store import tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Tables(tables.Tables):
    """The results of one sweep: `runs`, a row per run, `curves`, a row per run and recorded epoch, `meta`, `folder`.

    Methods give its analyses and figures, with the share of seeds that the sweep's file says.
    """

    @property
    def share(self) -> float:
        """Share of seeds at which its boundaries lie, as the sweep says."""
        return lacking.share(self)

    @property
    def lacks(self) -> str:
        """What the tables lack of the sweep, and what has changed since, in words; empty where they are whole."""
        return drawing.lack(self)

    def outcomes(self) -> pd.DataFrame:
        """The runs with `outcome` and, where their task declares some of its own, `task_outcome`.

        See `ghostsweep.outcomes`.
        """
        return analysis.with_task_outcome(analysis.outcomes(self.runs))

    def compact(self) -> pd.DataFrame:
        """The runs with what tells them apart: fields that vary, the outcomes, and the main results."""
        judged = self.outcomes()
        fields = [name for name in analysis.cell_fields(judged) if judged[name].nunique(dropna=False) > 1]
        shown = ["run_id", *fields, "learning_rate", "seed", "outcome", "task_outcome", *MAIN_RESULTS]
        return judged[[name for name in dict.fromkeys(shown) if name in judged]]

    def critical_lr(self, *, share: float | None = None) -> pd.DataFrame:
        """Upper and lower boundary of every cell: see `ghostsweep.critical_lr`."""
        return analysis.critical_lr(self.runs, share=self.share if share is None else share)

    def learnable_band(self, *, share: float | None = None) -> pd.DataFrame:
        """The band of rates at which at least `share` of the seeds learn: see `ghostsweep.learnable_band`."""
        return analysis.learnable_band(self.runs, share=1 - self.share if share is None else share)

    def analyze(self, *, share: float | None = None) -> analyzing.Analyzed:
        """Boundaries, bands and laws: see `ghostsweep.analyze`."""
        return analyzing.analyze(self, share=self.share if share is None else share)

    def reduce(self) -> pd.DataFrame:
        """Each snapshot of each run, reduced to the canonical form: see `ghostsweep.reduce`."""
        return reducing.reduce_tables(self)

    def phase_diagram(self, x: str | None = None, **options: Any) -> Figure:
        """What became of training over learning rate and x, by default the first field that varies."""
        from ghostsweep import figures

        options.setdefault("critical", self.critical_lr())
        return figures.phase_diagram(self.runs, x=x or first_field(self.runs), **options)

    def scaling_plot(self, x: str | None = None, **options: Any) -> Figure:
        """Critical learning rates against x with their law: see `ghostsweep.scaling_plot`."""
        from ghostsweep import figures

        critical = self.critical_lr()
        along = x or first_field(self.runs)
        law = None
        with contextlib.suppress(UsageError):  # too few estimates: the points alone
            law = analysis.fit_power_law(critical, x=along)
        return figures.scaling_plot(critical, law, x=along, **options)

    def band_plot(self, x: str | None = None, **options: Any) -> Figure:
        """The learnable band against x: see `ghostsweep.band_plot`."""
        from ghostsweep import figures

        return figures.band_plot(self.learnable_band(), x=x or first_field(self.runs), **options)

    def loss_plot(self, **options: Any) -> Figure:
        """Loss against learning rate at several epochs, of runs that differ in nothing else but their seed."""
        from ghostsweep import figures

        title = options.pop("title", self.meta.get("title", self.name))
        return figures.loss_against_learning_rate(self, title, **options)

    def ghosts(self, *runs: str, **options: Any) -> pd.DataFrame:
        """The slow places of networks of which snapshots are kept, of these runs or all: see `ghostsweep.ghosts`."""
        from ghostsweep.front import ghosts

        return ghosts.ghosts(self, runs=runs, **options)

    def run(self, run_id: str) -> Run:
        """The run of a row, as `train_one` and `simulate` take it, users' models as they were trained."""
        rows = self.runs[self.runs["run_id"] == run_id]
        if rows.empty:
            raise UsageError(f"{self.name}: no run {run_id} in it; `runs` has their ids")
        for code in Code.of_results(self.meta):
            code.load()
        return Run.of({str(name): value for name, value in rows.iloc[0].items()})

    def learning_curves(self, *run_ids: str, **options: Any) -> Figure:
        """Loss, accuracy and gradient norm of these runs against epoch, as far as epochs were recorded."""
        from ghostsweep import figures

        known = set(self.curves["run_id"])
        if unknown := [each for each in run_ids if each not in known]:
            raise UsageError(f"{self.name}: no run {', '.join(unknown)} in it; `runs` has their ids")
        fields = [name for name in (*analysis.cell_fields(self.runs), "learning_rate", "seed") if name in self.runs]
        rows = self.runs.set_index("run_id").loc[list(run_ids), fields]
        varying = [name for name in fields if rows[name].nunique(dropna=False) > 1]
        parts = {}
        for each in run_ids:
            name = ", ".join(views.span(field, rows.loc[[each], field]) for field in varying) or each
            parts[name] = self.curves[self.curves["run_id"] == each]
        return figures.learning_curves(parts, **options)

    def plot(self, to: str | Path = "figures") -> list[Path]:
        """Draw every figure that these tables allow into a folder; return the files."""
        from ghostsweep.figures import gallery

        return gallery.draw(self, out=self.folder.parent, to=to, note=self.lacks)

    def __repr__(self) -> str:
        return views.text_of_tables(self)

    def _repr_html_(self) -> str:
        return views.html_of_tables(self)


MAIN_RESULTS = ("status", "recent_mean_loss", "min_loss", "recent_max_accuracy", "learned_epoch")
Results = str | Path | tables.Tables | pd.DataFrame
"""The name of a sweep with results, a result folder, tables, or a frame of runs."""


def tables_of(results: Results, out: str | Path = "results", *, quick: bool = False) -> Tables:
    """The tables meant. Raises UsageError for a frame, which says too little, and where there are none."""
    if isinstance(results, Tables):
        return results
    if isinstance(results, str | Path):
        results = tables.read(f"{results}-quick" if quick else results, out)
    if not isinstance(results, tables.Tables):
        raise UsageError(
            f"results: found {_kind(results)}; allowed: the name of a sweep with results, a folder, or Tables"
        )
    return Tables(**vars(results))


def runs_of(results: Results, out: str | Path = "results") -> tuple[pd.DataFrame, float]:
    """The table of runs meant, and the share of seeds at which its boundaries lie; of a frame half of them."""
    if isinstance(results, pd.DataFrame):
        return results, 0.5
    if not isinstance(results, str | Path | tables.Tables):
        raise UsageError(
            f"results: found {_kind(results)}; allowed: the name of a sweep with results, a folder, Tables, or a "
            "frame of runs"
        )
    found = tables_of(results, out)
    return found.runs, found.share


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def first_field(runs: pd.DataFrame) -> str:
    """The first field of numbers that varies, beside learning rate and seed: what is drawn along where nobody says.

    runs: or a table of their cells.
    """
    of_cells = (*analysis.ESTIMATES, *analysis.BAND_ESTIMATES, "boundary", "share", "level")
    fields = [name for name in analysis.cell_fields(runs) if name not in of_cells]
    varying = [name for name in fields if runs[name].nunique() > 1]
    numbers = [name for name in varying if pd.api.types.is_numeric_dtype(runs[name])]
    if not numbers:
        raise UsageError(
            f"x: no field of numbers varies beside learning_rate and seed ({', '.join(varying) or 'none'})"
        )
    return numbers[0]
