"""What is said when a file of weights cannot be used."""


class WeightsError(ValueError):
    """One clear sentence; the command that meets it ends with exit code 3."""

    exit_code = 3
