"""What is said when a machine or a cluster cannot do its part."""


class MachineError(RuntimeError):
    """One clear sentence; the command that meets it ends with exit code 5."""

    exit_code = 5


class ObjectError(MachineError):
    """An object that is asked for is not there, or is another by now: a wrong input, exit code 3."""

    exit_code = 3
