"""This process and its machine: cores, memory, JAX's settings, terminals and signals. Knows nothing of sweeps."""
