"""Frozen networks that judge pictures: eyes (features) and edge operators."""

from models.judges.eye import Edges, Eye, Seen
from models.judges.find import PINNED, find_edges, find_eye

__all__ = ["PINNED", "Edges", "Eye", "Seen", "find_edges", "find_eye"]
