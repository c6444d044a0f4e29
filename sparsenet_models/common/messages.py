"""Pieces of error messages: the nearest right words, and text from a file in one printable line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'a', 'b' or 'c'?" for the (up to three) nearest words, or ""."""
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not close:
        return ""
    quoted = [repr(match) for match in close]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return f"; did you mean {listed}?"


def one_line(text: str, most: int = 160) -> str:
    """Return ``text`` with what is not printable escaped, its middle left out beyond ``most`` characters."""
    half = most // 2
    # Shortened before it is escaped, as a file may hold a name of megabytes; and after, as that lengthens it.
    if len(text) > most:
        text = f"{text[:half]}...{text[-half:]}"
    if not text.isprintable():
        text = "".join(
            part if part.isprintable() else part.encode("unicode_escape", "surrogatepass").decode()
            for part in text
        )
    return text if len(text) <= 2 * most else f"{text[:half]}...{text[-half:]}"
