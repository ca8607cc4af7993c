"""Finished tables in, one HTML file out, which opens from disk and asks the network for nothing.

`report` reads and writes; `cells` and `curves` make the data behind a page, `charts` the pictures, `words` its sentences
and tables, `paper` the part with the paper's figures, `page` the file. May import `paper/`, `findings/` and `figures/`
and what these may, no JAX; Altair is imported by `charts` and `page` alone, since it is an extra.
"""

from ghostsweep.reporting.report import report

__all__ = ["report"]
