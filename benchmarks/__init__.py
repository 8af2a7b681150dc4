"""What a reader can measure again: `python -m benchmarks.NAME`."""
