"""What doctor asks of a machine: each question a small function that answers with a Check."""

from cluster.checks.check import Check, Question, State, ask

__all__ = ["Check", "Question", "State", "ask"]
