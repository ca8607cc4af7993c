"""Finished tables in, one HTML file out, which opens from disk and asks the network for nothing.

`making` reads tables and writes the file; `cells` and `curves` make the data behind a page, `packing` makes it small,
`charts` the pictures, `words` the sentences and tables, `paper` the part with the paper's figures, `page` the file, of
which `page.js` draws and `page.css` is the look. May import `paper/`, `findings/`, `figures/` and what these may, and
no JAX; Altair, which is an extra, is imported where it is called.
"""

from ghostsweep.reporting.making import report

__all__ = ["report"]
