"""Weights in and out of files; nothing from a file is executed."""

from models.files.errors import WeightsError
from models.files.tensors import load_into, read_tensors, sha256_of, write_tensors, write_whole

__all__ = ["WeightsError", "load_into", "read_tensors", "sha256_of", "write_tensors", "write_whole"]
