"""This process and its machine: cores, memory, JAX's settings, and terminals. Knows nothing of sweeps."""
