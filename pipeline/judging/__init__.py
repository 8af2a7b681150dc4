"""Metrics, the evaluator, and fair comparison."""
