"""Metrics, the evaluator, and fair comparison."""

from pipeline.judging.compare import Cell, compare, read_cell
from pipeline.judging.evaluator import Judgement, judge
from pipeline.judging.score import Score
from pipeline.judging.settings import Comparing, Judging
from pipeline.judging.table import Table

__all__ = ["Cell", "Comparing", "Judgement", "Judging", "Score", "Table", "compare", "judge", "read_cell"]
