"""The errors that end a command, each with the exit status that every command gives to its kind.

Exit status (the same everywhere)::

    0  done, or nothing found
    1  the answer is no         Refused
    2  the input is wrong       InputError
    3  this machine cannot      MachineError
    4  undecided                Undecided
    5  the change was rolled back   RolledBack

Each error says where, what, and what to do about it (`hint`). Nothing here imports anything, so that the way back
(`apply.confirm`) stays cheap to start.
"""


class GuardError(Exception):
    """An error whose text is meant for the person at the terminal.

    Attributes:
        status: exit status of the process.
        hint: what to do next, one sentence without a full stop, or "".
    """

    status = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Refused(GuardError):  # noqa: N818 - it is an answer, not a fault
    """The answer is no: a proof is refuted, another change is pending, the way of the administrator would be cut."""

    status = 1


class InputError(GuardError):
    """What the user gave is wrong: usage, policy, snapshot, packets."""

    status = 2


class MachineError(GuardError):
    """This machine cannot: no privilege, a missing tool, a missing kernel feature, a full disk."""

    status = 3


class Undecided(GuardError):  # noqa: N818 - it is an answer, not a fault
    """The analysis is not exact where exactness was asked for."""

    status = 4


class RolledBack(GuardError):  # noqa: N818 - it is an outcome, not a fault
    """The change was undone: nobody confirmed it, or what was loaded was not what was planned."""

    status = 5
