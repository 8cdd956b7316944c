"""What is wrong, where, and how to mend it: the one shape in which every check answers."""

import enum
from collections.abc import Iterable

import msgspec


class Severity(enum.StrEnum):
    """How bad a finding is, in the order of badness."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Where(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place: a file with line and column (1-based, 0 for unknown), a path inside the document, or both."""

    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = self.file
        if self.file and self.line:
            place += f":{self.line}" + (f":{self.column}" if self.column else "")
        return " ".join(part for part in (place, self.path) if part)


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing found.

    `code` is stable (two letters for the area, three digits) and explained by the docs; `message` says what is
    wrong in one sentence, `fix` what to do, empty where the message says it already.
    """

    code: str
    severity: Severity
    where: Where
    message: str
    fix: str = ""

    def __str__(self) -> str:
        """`error HW104 config.yaml:12:5 receivers.filelog: unknown key "inclde"; did you mean "include"?`"""
        place = str(self.where)
        text = f"{self.severity} [{self.code}] " + (f"{place}: " if place else "") + self.message
        return f"{text}; {self.fix}" if self.fix else text


class HawseError(Exception):
    """Something that the user can mend, told by findings. The program prints them, never a traceback."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))

    @classmethod
    def of(cls, code: str, message: str, *, fix: str = "", path: str = "", file: str = "") -> "HawseError":
        """An error of one finding."""
        return cls([Finding(code, Severity.ERROR, Where(file=file, path=path), message, fix)])
