"""Graft: adapt a generator to ten pictures, and judge every method alike."""
