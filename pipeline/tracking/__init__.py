"""Where a run is written: JSON lines, MLflow, the terminal."""
