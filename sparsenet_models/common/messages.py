"""Parts of messages: the nearest right words, a text or an error in one printable line, a time.

And which errors tell of too little memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

OUT_OF_MEMORY = (
    *("out of memory", "DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("Storage size calculation overflowed", "Cannot allocate memory"),
)
"""Parts of torch's messages where memory does not suffice; few of these errors have a class of their own."""


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return "; did you mean 'a', 'b' or 'c'?" with the (up to three) nearest of ``choices``, or "".

    Capital letters count as small ones; what is not a string, as it may be a caller's, is compared as text.
    """
    choice_of = {choice.lower(): choice for choice in choices}
    nearest = difflib.get_close_matches(str(word).lower(), list(choice_of), n=3, cutoff=0.6)
    close = [repr(choice_of[lower]) for lower in nearest]
    if not close:
        return ""
    listed = close[0] if len(close) == 1 else f"{', '.join(close[:-1])} or {close[-1]}"
    return f"; did you mean {listed}?"


def one_line(text: str, max_chars: int = 160) -> str:
    """Return ``text`` as one printable line: the rest is escaped, and the middle of a long text left out.

    Args:
        text: from a file, so of any length and with any character.
        max_chars: a longer text is cut to this many characters before it is escaped; the result has at
            most twice as many.
    """
    half = max_chars // 2
    # Cut before it is escaped, as a file may hold a name of megabytes, and after, as that lengthens it.
    if len(text) > max_chars:
        text = f"{text[:half]}...{text[-half:]}"
    text = printable(text)
    return text if len(text) <= 2 * max_chars else f"{text[:half]}...{text[-half:]}"


def first_line(error: Exception) -> str:
    """Return the first line of a message, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether the memory of the machine or of a GPU does not suffice."""
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in OUT_OF_MEMORY)


def printable(text: str) -> str:
    """Return ``text`` in one printable line: what is not printable is escaped as Python writes it."""
    if text.isprintable():
        return text
    return "".join(
        part if part.isprintable() else part.encode("unicode_escape", "surrogatepass").decode()
        for part in text
    )


def duration(seconds: float) -> str:
    """Return seconds as "4 s", "12 min", "3.4 h" or "1,200 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:,.0f} days"
