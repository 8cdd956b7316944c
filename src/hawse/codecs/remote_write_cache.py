"""What is remembered of series that come again and again, in bounded memory.

A `Form` is a series of one sample, as it is encoded: everything of it that is the same the next time, and what it
comes to in OTLP. A series that comes with a value and with zero, which protobuf leaves out, has two.
"""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from hawse.codecs.remote_write_series import Slot, Usage, template

if TYPE_CHECKING:
    from hawse.codecs.remote_write_segments import Segment

K = TypeVar("K", bound=Hashable)

EPOCH = 300.0  # seconds; what was not seen for one to two of them is forgotten
_AROUND = 420  # bytes of a form's object, its two buffers' headers and its share of the table, measured
_MOST = (1 << 32) - 1
_LARGEST = 32 << 10  # bytes of a form that is remembered


class Form:
    """`head` is what it begins with on the wire (1.0), or `remote_write_2`'s record. `point` is a template.

    `span` is its length there, `zero` whether its value is left out on the wire (1.0), `next` what came after it last
    time, `segment` the one that begins with it, `kept` whether it is remembered at all.
    """

    __slots__ = ("cost", "head", "kept", "next", "point", "segment", "slot", "span", "start", "used", "zero")

    def __init__(self, head: Hashable, slot: Slot, attributes: bytes, *, start: int = 0, cost: int) -> None:
        """`attributes` are fields 7 of a point, `start` is its start time in Unix ns, `cost` the size of `head`."""
        self.head = head
        self.slot = slot
        self.start = start
        self.point = template(attributes, start)
        self.cost = _AROUND + cost + len(self.point)
        self.span = 0
        self.zero = False
        self.used = 0
        self.kept = False
        self.next: Form = NOTHING
        self.segment: Segment | None = None

    @property
    def attributes(self) -> bytes:
        """What the template was made from."""
        begin = 2 if self.point[1] < 128 else 3 if self.point[2] < 128 else 4 if self.point[3] < 128 else 5
        return self.point[begin : -27 if self.start else -18]

    def follows(self, before: "Form") -> None:
        """Expect this one behind that one the next time; both must be remembered, else they would be kept alive."""
        if before.kept and self.kept:
            before.next = self


class _Nothing(Form):
    """What no series begins with: stands where nothing is known."""

    __slots__ = ()

    def __init__(self) -> None:
        self.head: Hashable = ()  # bytes begin with none of no texts
        self.used = 0
        self.kept = False
        self.next = self


NOTHING: Form = _Nothing()


class Forms:
    """Forms by head, at most `limit` bytes of them and of what they refer to.

    When it is full, what is new is not remembered until something old is forgotten: of more series than fit, as many
    as fit stay cheap, and a stranger who sends ever new ones takes nothing away from those who were there before.
    """

    def __init__(self, limit: int, usage: Usage) -> None:
        self._limit = limit
        self._usage = usage
        self._forms: dict[Hashable, Form] = {}
        self.get = self._forms.get
        self.epoch = 0
        self.full = 0  # forms that there was no room for

    def __len__(self) -> int:
        return len(self._forms)

    def remember(self, form: Form) -> None:
        """Keep a new form, if there is room."""
        if form.cost > _LARGEST or self._usage.bytes + form.cost > self._limit:
            self.full += 1
            return
        form.kept = True
        self._forms[form.head] = form
        self._usage.bytes += form.cost

    def remember_segment(self, segment: "Segment") -> None:
        """Keep a segment with its first form, in the place of the one there, if there is room."""
        form = segment.forms[0]
        if not all(one.kept for one in segment.forms) or self._usage.bytes + segment.cost > self._limit:
            return
        self._drop_segment(form)
        form.segment = segment
        self._usage.bytes += segment.cost

    def _drop_segment(self, form: Form) -> None:
        if form.segment is not None:
            self._usage.bytes -= form.segment.cost
            form.segment = None

    def turn(self, now: float) -> bool:
        """Tell the time, in seconds: forget what has not been seen for a while. Says whether it was time."""
        epoch = int(now / EPOCH) + 1
        if epoch == self.epoch:
            return False
        self.epoch = epoch
        oldest = epoch - 1
        kept = {}
        for head, form in self._forms.items():
            if form.used >= oldest:
                kept[head] = form
                if form.next.used < oldest and form.next is not NOTHING:
                    form.next = NOTHING
                if form.segment is not None and any(one.used < oldest for one in form.segment.forms):
                    self._drop_segment(form)
            else:
                self._drop_segment(form)
                form.kept = False
                form.next = NOTHING  # a chain of forgotten ones would keep itself alive
                self._usage.bytes -= form.cost
        self._forms = kept
        self.get = kept.get
        return True


class Numbers(Generic[K]):
    """A number for each key, the same as long as the key comes again within an epoch; in at most `limit` bytes.

    0 for a key that there is no room for.
    """

    def __init__(self, limit: int, size_of: Callable[[K], int]) -> None:
        self._limit = limit
        self._size_of = size_of
        self._size = 0
        self._last = 0
        self._young: dict[K, int] = {}
        self._old: dict[K, int] = {}

    def of(self, key: K) -> int:
        """The key's number."""
        number = self._young.get(key)
        return self._again(key) if number is None else number

    def _again(self, key: K) -> int:
        number = self._old.pop(key, 0)
        if not number:
            size = self._size_of(key)
            if self._size + size > self._limit or self._last == _MOST:
                return 0
            self._size += size
            self._last += 1
            number = self._last
        self._young[key] = number
        return number

    def turn(self) -> None:
        """An epoch is over."""
        self._old, self._young = self._young, {}
        self._size = sum(map(self._size_of, self._old))
