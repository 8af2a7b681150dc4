"""A run that is told to stop while a task of two workers waits: what is heard, to stdout. FOLDER is the task's."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from cluster.fleet import run_many
from cluster.tasks import Share
from tests.cluster.gangs import any_task


def main(folder: Path) -> None:
    """Prints the answers as [reason, kind] by task, once KeyboardInterrupt was raised."""
    heard: dict[str, Any] = {}
    sent: list[signal.Signals] = []

    def interrupt_once_begun() -> None:
        if (folder / "begun").exists() and not sent:
            sent.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    def hear(key: str, answer: Any) -> None:
        heard[key] = [answer.reason, answer.kind]

    task = {"a": {"do": "wait", "folder": str(folder)}}
    share = Share(cpus=1, workers=2)
    try:
        run_many(any_task, task.items(), share=share, on_result=hear, tick=interrupt_once_begun, local=2)
    except KeyboardInterrupt:
        print(json.dumps(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
