"""Frozen networks that judge pictures."""
