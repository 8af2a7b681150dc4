"""Weights in and out of files; nothing from a file is executed."""
