"""The one exception meant for people."""

CONFIG, INPUT, CELLS_FAILED, ENVIRONMENT, INTERRUPTED = 2, 3, 4, 5, 130


class GraftError(Exception):
    """One clear sentence (what is wrong, where, what to do) and the exit code of the command."""

    def __init__(self, sentence: str, exit_code: int = CONFIG) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
