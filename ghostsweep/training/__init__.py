"""Training: the pure function of one run, chunks of many, the walk over a plan, checkpoints and progress."""
