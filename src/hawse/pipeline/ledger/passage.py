"""One batch on its way: what is said of it counts when the way has ended, all at once, or not at all.

A receiver's `consume` opens a passage; whatever is said of its records further on, in the same task or in tasks that
it waits for, is noted there. Once the records are off the receiver's hands, the notes are booked together with the
receipt, so the books are even at any moment. Busy (or a cancelled call) leaves the batch with the receiver, and the
notes are thrown away: the records come again, and so does what is to be said of them.
"""

from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

from hawse.batch import Signal
from hawse.pipeline.ledger.accounts import Account, Outcome

if TYPE_CHECKING:
    from hawse.pipeline.ledger import Ledger

Entry = tuple[int, str, int]  # account, source, items


class Passage:
    """Notes of one call of `consume`. `begin` and `end` must be called in the same task."""

    __slots__ = ("_ledger", "_token", "credit", "entries", "open", "parent", "receipt", "signal")

    def __init__(
        self,
        ledger: "Ledger",
        signal: Signal,
        credit: list[tuple[str, int]] | None = None,
        receipt: int = -1,
    ) -> None:
        """`credit` is what a receiver hands in, by source, to be booked on the account `receipt`."""
        self._ledger = ledger
        self.signal = signal
        self.credit = credit
        self.parent: Passage | None = None if credit is not None else current()
        self.receipt: int = receipt if receipt >= 0 or self.parent is None else self.parent.receipt
        self.entries: list[Entry] = []
        self.open = True
        self._token = CURRENT.set(self)
        if credit is not None:
            ledger.open.add(self)

    def settle(self) -> None:
        """The way has ended: book the notes, or hand them to the passage that this one is part of."""
        self._close()
        if self.parent is not None:
            self.parent.take(self)
        elif self.credit is None:
            self._ledger.books.add(self.entries)
        else:
            self._ledger.books.add(self._received() + self.entries)

    def take(self, part: "Passage") -> None:
        """Take over the notes of a part of this passage that has ended."""
        if self.open:
            self.entries += part.entries
        else:  # it did not wait for its part
            self._ledger.books.add(part.entries)

    def discard(self) -> None:
        """The batch comes again. What has left us already, did, and will do so twice."""
        self._close()
        books, accounts = self._ledger.books, self._ledger.books.accounts
        for number, source, items in self.entries:
            account = accounts[number]
            receipt = self.receipt if self.receipt >= 0 else self._ledger.service(account.signal, Outcome.RECEIVED)
            if account.outcome is Outcome.DELIVERED:
                repeated = books.number(Account(account.signal, account.kind, account.component, Outcome.REPEATED))
                books.add([(receipt, source, items), (number, source, items), (repeated, source, items)])
            elif account.outcome is Outcome.AHEAD:  # -items: a queue keeps them whatever we do
                books.add([(receipt, source, -items), (number, source, items)])

    def _close(self) -> None:
        self.open = False
        try:  # noqa: SIM105 - contextlib.suppress costs half a microsecond
            CURRENT.reset(self._token)
        except ValueError:
            pass  # a call that is cleaned up elsewhere, at the end of the process
        if self.credit is not None:
            self._ledger.open.discard(self)

    def _received(self) -> list[Entry]:
        """The receipt, under the sources that the records left under where those are others (enrichment)."""
        credit, receipt = self.credit or [], self.receipt
        # The usual case, in a third of the time: no entries, or one for each group, which leaves.
        if [(source, items) for _, source, items in self.entries] in ([], credit):
            return [(receipt, source, items) for source, items in credit]
        signs = self._ledger.books.signs
        received: dict[str, int] = {}
        for source, items in credit:
            received[source] = received.get(source, 0) + items
        left = dict(received)
        for account, source, items in self.entries:
            left[source] = left.get(source, 0) + signs[account] * items
        if any(left.values()):
            _move(received, left)
        return [(receipt, source, items) for source, items in received.items()]


def _move(received: dict[str, int], left: dict[str, int]) -> None:
    """Take what is left over of some sources for what is missing of others."""
    spare = [(source, items) for source, items in left.items() if items > 0]
    for source, items in left.items():
        missing = -items
        while missing > 0 and spare:
            other, some = spare.pop()
            moved = min(some, missing)
            received[other] -= moved
            received[source] = received.get(source, 0) + moved
            missing -= moved
            if some > moved:
                spare.append((other, some - moved))


CURRENT: ContextVar[Passage | None] = ContextVar("passage", default=None)


def current() -> Passage | None:
    """The passage that this task is part of, unless it has ended."""
    passage = CURRENT.get()
    return passage if passage is not None and passage.open else None


def outside() -> Context:
    """For tasks that outlive the call in which they are made: what they say is not part of its passage."""
    context = copy_context()
    context.run(CURRENT.set, None)
    return context
