"""What a question about a machine is answered with, and how long it may take."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True)
class Check:
    """An answer.

    state: "ok"; "warn", it works, but slowly or not safely; "fail", it is needed, or was named to be used, and
    does not work; "absent", it is optional and not there. found: what was seen. mend: what to do; "" where ok.
    """

    name: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class Question:
    """seconds: after which the answer is no longer waited for, and counts as "fail"."""

    name: str
    answer: Callable[[], Check]
    seconds: float


class _Asked:
    """A question being answered, in a thread that the end of the process does not wait for."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.check: Check | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name=question.name, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.check = self.question.answer()
        except BaseException as error:
            self.error = error

    def wait(self, until: float) -> Check:
        self.thread.join(max(0.0, until - time.monotonic()))
        if self.error is not None:
            raise self.error
        return self.check or Check(
            self.question.name,
            "fail",
            f"no answer within {self.question.seconds:g} s",
            "what it looks at hangs: a server, or the mount of a folder; see the lines around it",
        )


def ask(questions: Sequence[Question]) -> list[Check]:
    """The answers, in the order of the questions, which are asked at once. An error in one is raised: a bug."""
    begun = time.monotonic()
    asked = [_Asked(question) for question in questions]
    return [each.wait(begun + each.question.seconds) for each in asked]
