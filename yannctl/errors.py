"""Errors a caller can act on: each names the field, the index where there is one, and the remedy.

A caller's mistake raises at the border; a numerical outcome is a `status` with a message (see `PwaLaw.status`).
"""


class YannctlError(Exception):
    """Base of every error this package raises on purpose."""


class ModelError(YannctlError, ValueError):
    """A model, weight, bound or setting that cannot be used.

    The text reads `field[index]: what is wrong; what to do`.

    Args:
        field: name of the offending argument, as the caller wrote it.
        problem: what is wrong, with what was got and what was expected.
        index: position inside the field (an integer or a tuple), or None when the whole field is meant.
        remedy: what the caller can do about it.
    """

    def __init__(
        self, field: str, problem: str, *, index: int | tuple[int, ...] | None = None, remedy: str = ""
    ) -> None:
        self.field = field
        self.index = index
        self.problem = problem
        self.remedy = remedy
        place = field if index is None else f"{field}[{_index_text(index)}]"
        super().__init__(f"{place}: {problem}" + (f"; {remedy}" if remedy else ""))


class NotStabilisableError(ModelError):
    """The pair (A, B) has a mode on or outside the unit circle that no input reaches."""


class EmptySetError(ModelError):
    """Bounds that contradict each other, or a set that turned out empty."""


class FileFormatError(YannctlError, ValueError):
    """A file that is corrupt, of another version, or not one of ours."""


class NotInstalledError(YannctlError, ImportError):
    """An optional package or tool is missing; the text says what to install."""


def _index_text(index: int | tuple[int, ...]) -> str:
    return ", ".join(map(str, index)) if isinstance(index, tuple) else str(index)
