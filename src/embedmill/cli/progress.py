"""How far a run has come, shown to people while it runs."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, TextIO, Union

from embedmill.core.errors import EmbedmillError
from embedmill.core.interfaces.source import Source
from embedmill.core.reports import ListProgress, Progress, VerifyProgress

if TYPE_CHECKING:
    from embedmill.core.table_reports import IngestProgress

SHOWN_AFTER: Final = 0.5  # seconds before anything is shown: most runs over an unchanged tree have ended by then
REDRAWN: Final = 0.2  # seconds from one state of the bar to the next
LINES_APART: Final = 10.0  # seconds from one line of a log to the next

_WINDOW: Final = 20.0  # seconds that the speed is measured over: longer than one odd file, shorter than a mood
_SAMPLES_APART: Final = 0.5  # seconds

_CLEAR_LINE: Final = "\r\x1b[K"

AnyProgress = Union[Progress, VerifyProgress, "IngestProgress", ListProgress]


class Listing:
    """How many bytes a source has in all, added up in a thread of its own while the run goes on."""

    def __init__(self, source: Source | None) -> None:
        self._source = source
        self.bytes: int | None = None  # until the listing is complete, and where there is nothing to list

    def start(self) -> None:
        """Begin to list, if that has not been done."""
        source, self._source = self._source, None
        if source is not None:
            threading.Thread(target=self._add_up, args=[source], name="embedmill-listing", daemon=True).start()

    def total(self, progress: AnyProgress) -> int | None:
        """What the run's amount will be in the end; None while that is not known."""
        return self.bytes if progress.total is None else progress.total

    def _add_up(self, source: Source) -> None:
        # The run itself meets the same errors and says so; without a total no share is shown.
        with suppress(EmbedmillError):
            self.bytes = source.amount()


class HasSpeed(Protocol):
    """A state that a speed can be told from."""

    @property
    def seconds(self) -> float:
        """Since it all began."""

    @property
    def done(self) -> int:
        """What the speed is told in."""

    @property
    def amount(self) -> float:
        """What the time left is told by."""


class Speed:
    """The speed over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, float]] = deque()  # seconds, what is done, its amount

    def add(self, progress: HasSpeed) -> None:
        """Take note of a state."""
        if self._samples and progress.seconds < self._samples[-1][0] + _SAMPLES_APART:
            return
        self._samples.append((progress.seconds, progress.done, progress.amount))
        while len(self._samples) > 2 and self._samples[0][0] < progress.seconds - _WINDOW:
            self._samples.popleft()

    def per_second(self) -> float | None:
        """None until it can be told."""
        return self._slope(1)

    def seconds_for(self, amount: float) -> float | None:
        """How long so much more will take; None where it cannot be told."""
        rate = self._slope(2)
        return amount / rate if rate else None

    def _slope(self, column: int) -> float | None:
        if len(self._samples) < 2:
            return None
        first, last = self._samples[0], self._samples[-1]
        return (last[column] - first[column]) / (last[0] - first[0])


def clock(seconds: float) -> str:
    """A length of time as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Shows the progress of one run; this one shows nothing."""

    def show(self, progress: AnyProgress) -> None:
        """Show this state, or leave it out where the last one is recent."""

    def close(self) -> None:
        """Show no more."""


class _OnStream(Display):
    """What is written to a stream; that nobody reads it does not stop the run."""

    def __init__(self, stream: TextIO, listing: Listing) -> None:
        self._stream = stream
        self._listing = listing
        self._speed = Speed()

    def _facts(self, progress: AnyProgress) -> tuple[str, float | None, str]:
        """The counts, the share that is done, and the time left; None and "" for what cannot be told."""
        if progress.doing:
            return progress.doing, progress.share, ""
        words = [progress.counts]
        if (rate := self._speed.per_second()) is not None:
            words.append(f"{rate:,.0f}/s")
        words += [f"{what} {getattr(progress, what):,}" for what in ("failed", "restarts") if getattr(progress, what)]
        share, remaining = None, ""
        if total := self._listing.total(progress):
            share = min(progress.amount / total, 1.0)
            seconds = self._speed.seconds_for(max(total - progress.amount, 0))
            remaining = "" if seconds is None else f"{clock(seconds)} left"
        return ", ".join(words), share, remaining

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


class Lines(_OnStream):
    """A line now and then, for logs."""

    def __init__(self, stream: TextIO, listing: Listing, every: float = LINES_APART) -> None:
        super().__init__(stream, listing)
        self._every = every
        self._next = every

    def show(self, progress: AnyProgress) -> None:
        """Write a line if it is time."""
        self._speed.add(progress)
        if progress.seconds < self._next / 2:
            return
        self._listing.start()
        if progress.seconds < self._next:
            return
        self._next = progress.seconds + self._every
        text, part, remaining = self._facts(progress)
        shown = [text] if part is None else [text, f"{part:.0%}", remaining]
        self._write(", ".join(filter(None, shown)) + "\n")


class Bar(_OnStream):
    """One line of a terminal, drawn again and again."""

    def __init__(self, stream: TextIO, listing: Listing) -> None:
        super().__init__(stream, listing)
        self._drawn = 0.0
        self._visible = False
        self._draw = filler(stream)

    def show(self, progress: AnyProgress) -> None:
        """Draw this state, if the last drawing is old enough."""
        self._speed.add(progress)
        now = time.monotonic()
        if progress.seconds < SHOWN_AFTER or now < self._drawn + REDRAWN:
            return
        self._drawn = now
        self._visible = True
        self._listing.start()
        width = shutil.get_terminal_size().columns - 1
        self._write(_CLEAR_LINE + self._line(progress, width))

    def close(self) -> None:
        """Leave an empty line."""
        if self._visible:
            self._visible = False
            self._write(_CLEAR_LINE)

    def _line(self, progress: AnyProgress, width: int) -> str:
        text, part, remaining = self._facts(progress)
        if part is None:
            return text[:width]
        end = f"{part:4.0%}" + (f"  {remaining}" if remaining else "")
        room = min(width - len(text) - len(end) - 4, 40)
        if room < 8:
            return f"{end.strip()}  {text}"[:width]
        return f"{text}  {self._draw(part, room)}  {end}"


def filler(stream: TextIO) -> Callable[[float, int], str]:
    """What draws a share, from 0 to 1, as so many characters of that stream."""
    plain = (stream.encoding or "").lower().replace("-", "") != "utf8"
    full, empty = ("#", "-") if plain else ("━", "╌")
    return lambda share, room: full * round(share * room) + empty * (room - round(share * room))


def takes_drawings(stream: TextIO) -> bool:
    """Whether people look on a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def display_on(stream: TextIO | None, source: Source | None) -> Display:
    """What shows a run on `stream`: a bar where people look on, else lines, or nothing where there is none.

    `source` is listed for the total that progress is measured by; None where that is not known.
    """
    if stream is None:
        return Display()
    if takes_drawings(stream):
        return Bar(stream, Listing(source))
    return Lines(stream, Listing(source))


@contextmanager
def shown_list(stream: TextIO | None, noun: str) -> Iterator[Callable[[int, int], None]]:
    """What is to be told how many items of a list are done, and of how many, and shows it on `stream`."""
    started = time.monotonic()
    with closing(display_on(stream, None)) as display:
        yield lambda done, total: display.show(ListProgress(noun, done, total, time.monotonic() - started))


@contextmanager
def shown_lists(stream: TextIO | None) -> Iterator[Callable[[ListProgress], None]]:
    """As `shown_list`, of several lists, one after the other: each has a speed of its own."""
    with ExitStack() as stack:
        noun, display = "", Display()

        def show(progress: ListProgress) -> None:
            nonlocal noun, display
            if progress.noun != noun:
                stack.close()
                noun, display = progress.noun, stack.enter_context(closing(display_on(stream, None)))
            display.show(progress)

        yield show
