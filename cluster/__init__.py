"""Machines: processes, devices, Ray. Knows nothing of GANs."""
