"""Every error that transferflow raises on purpose.

```
TransferflowError            exit code 1
├── SpecError                exit code 2: the spec is wrong; carries every problem at once
├── PlanError                exit code 2: the spec is well formed but can't be met (unknown layer group, …)
├── DataError                the data set is unreadable, leaks, or has too many bad files
├── WeightsError             pretrained weights are missing, damaged or do not fit
│   └── DownloadError        the server that has them is not reached, or refuses
├── TrainingError            training can't go on (loss is not finite, a frozen parameter changed, …)
├── EvaluationError          a metric can't be computed
├── StoreError               an artifact is missing or damaged
├── RegistryError            the model registry refused, or has no such model
│   └── ChampionChangedError another run was promoted between comparison and promotion
├── FlowError                the Prefect server or a worker can't be reached, or refused
├── MissingDependencyError   an optional package is not installed
├── MachineError             the disk is full or may not be written to, or memory is exhausted
└── InterruptedRunError      exit code 130: stopped by the user; the run can be resumed
    └── TerminatedRunError   exit code 143: stopped by SIGTERM; the run can be resumed

StopSignal                   not an error: a signal asks the process to end
```

A message says where the problem is, what was found, what is allowed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from transferflow.limits import MAX_MESSAGE, MAX_PROBLEMS
from transferflow.text import one_line, printable

_LONGEST_REASON = 300


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in the four parts that a reader needs.

    Parts quote files and addresses of any origin, and end on terminals, in logs and in registries: control
    characters and credentials are blanked here, and what is endless is cut.

    Attributes:
        what: The problem in one sentence.
        where: `file:line:column` and/or a key path such as `optimizer.lr`; empty when there is none.
        found: What stands there now.
        allowed: What may stand there.
        hint: What to do next.
    """

    what: str
    where: str = ""
    found: str = ""
    allowed: str = ""
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("what", "where"):
            object.__setattr__(self, name, one_line(getattr(self, name), MAX_MESSAGE))
        for name in ("found", "allowed", "hint"):
            object.__setattr__(self, name, printable(getattr(self, name), MAX_MESSAGE))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        for title, text in (("found", self.found), ("allowed", self.allowed), ("hint", self.hint)):
            if text:
                # Further lines are set in, so that none of them can pose as a message of its own.
                lines.append(f"    {title}: {text}".replace("\n", f"\n{' ' * 8}"))
        return "\n".join(lines)


def bounded_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems, or the first `MAX_PROBLEMS` of them and a last one that says that there are more."""
    if len(problems) <= MAX_PROBLEMS:
        return tuple(problems)
    return (*problems[: MAX_PROBLEMS - 1], Problem("there are more problems", hint="mend these first"))


class TransferflowError(Exception):
    """Base of all expected errors; the command line prints it without a traceback."""

    exit_code = 1

    def __init__(
        self, what: str, *, where: str = "", found: str = "", allowed: str = "", hint: str = ""
    ) -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, found, allowed, hint),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def from_problems(cls, problems: Sequence[Problem]) -> Self:
        """Build one error that carries every problem, or the first ones and that there are more."""
        error = cls.__new__(cls)
        error.problems = bounded_problems(problems)
        Exception.__init__(error, "\n".join(str(problem) for problem in problems))
        return error

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments need help to cross a process boundary (Prefect, data loader workers).
        return (type(self).from_problems, (self.problems,))


def root_reason(error: BaseException) -> str:
    """What an error comes down to, in one line: libraries of the network wrap one reason many times."""
    *_, root = causes_of(error)
    text = next((line.strip() for line in str(root).splitlines() if line.strip()), "")
    if " " not in text:  # a bare word says little without its kind
        text = f"{type(root).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and, one by one, what it wraps or was raised for."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = _inner(cause)


def _inner(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    wrapped = next((part for part in (reason, *error.args) if isinstance(part, BaseException)), None)
    return wrapped or error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class SpecError(TransferflowError):
    """The spec can't be read or breaks the rules; all problems are reported together."""

    exit_code = 2


class PlanError(TransferflowError):
    """The spec is well formed, but the backbone, the data or the machine can't meet it."""

    exit_code = 2


class DataError(TransferflowError):
    """The data set can't be used as it is."""


class WeightsError(TransferflowError):
    """Pretrained weights are missing, damaged, or do not fit the model."""


class DownloadError(WeightsError):
    """The server that has the weights can't be reached, or refuses."""


class TrainingError(TransferflowError):
    """Training can't go on."""


class EvaluationError(TransferflowError):
    """A metric can't be computed from these predictions."""


class StoreError(TransferflowError):
    """An artifact is missing or damaged."""


class RegistryError(TransferflowError):
    """The model registry refused, or has no such model."""


class ChampionChangedError(RegistryError):
    """Another run was promoted between comparison and promotion: compare again."""


class FlowError(TransferflowError):
    """The Prefect server can't be reached, or refused."""


class MissingDependencyError(TransferflowError):
    """An optional package is needed and not installed."""


class MachineError(TransferflowError):
    """The machine can't do it: its disk or memory is full, or this user lacks a right; see `machine`."""


class InterruptedRunError(TransferflowError):
    """The user stopped the run; it can be resumed with the same command."""

    exit_code = 130


class TerminatedRunError(InterruptedRunError):
    """SIGTERM stopped the run; it can be resumed with the same command."""

    exit_code = 143


class StopSignal(BaseException):
    """A signal asks the process to end; like `KeyboardInterrupt`, who catches it must pass it on.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
