"""The paper: its eight figures, the sweeps each needs and the claims each makes, all from finished tables."""
