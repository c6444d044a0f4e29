"""Text out of somebody's file in an error message: one line, printable, short enough to be read."""

from __future__ import annotations


def readable(text: str, most: int = 160) -> str:
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
