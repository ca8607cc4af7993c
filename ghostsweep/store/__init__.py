"""Results on disk: files that survive a kill, locks, the tables, columns and the manifest. No JAX."""
