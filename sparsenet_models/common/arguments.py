"""Checks of arguments. Their errors name the argument, the values that it may have, and its value."""

from __future__ import annotations

import inspect
import numbers
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from .messages import did_you_mean


def first_repeated(values: Iterable[str]) -> str | None:
    """Return the first of ``values`` that occurs more than once, None where all differ."""
    return next((value for value, count in Counter(values).items() if count > 1), None)


def is_integer(value: Any) -> bool:
    """Return whether ``value`` is an integer of Python or numpy; a bool is not."""
    # int is also an Integral, but the check of an abstract class is slow.
    return isinstance(value, (int, numbers.Integral)) and not isinstance(value, bool)


def integer(name: str, value: Any, minimum: int) -> int:
    """Return ``value`` as an int.

    Raises:
        TypeError: it is not an integer (a bool is not).
        ValueError: it is below ``minimum``.
    """
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__})")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)


def one_of(name: str, value: Any, words: Iterable[str]) -> str:
    """Return ``value``, which must be one of ``words``.

    Raises:
        ValueError: it is not; the message suggests the nearest.
    """
    words = tuple(words)
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name} must be one of {words}, got {value!r}{did_you_mean(value, words)}")
    return value


def positive_integers(name: str, text: str) -> list[int]:
    """Return the integers of a text such as ``16,128,1024``.

    Raises:
        ValueError: a part is not an integer from 1 to 10**18.
    """
    values = []
    for part in text.split(","):
        number = part.strip()
        # The length is checked first, since int() refuses thousands of digits with a message of its own.
        if not number.isdecimal() or len(number) > 19 or not 1 <= int(number) <= 10**18:
            raise ValueError(
                f"{name} must be integers from 1 to 10**18 with commas between, got {part!r} in {text!r}"
            )
        values.append(int(number))
    return values


def fraction(name: str, value: Any, *, one_allowed: bool = False) -> float:
    """Return ``value`` as a float in [0, 1), with ``one_allowed`` in [0, 1].

    Raises:
        TypeError: it is not a number (a bool is not).
        ValueError: it is out of range.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    number = float(value)
    if not (0.0 <= number < 1.0 or (one_allowed and number == 1.0)):
        raise ValueError(f"{name} must be in [0, 1{']' if one_allowed else ')'}, got {value!r}")
    return number


def check_keywords(
    name: str, function: Callable[..., Any], keywords: Iterable[str], also: Iterable[str] = ()
) -> None:
    """Raise for a keyword that ``function`` does not take.

    Args:
        name: the name that the error gives the function.
        function: its signature says which keywords it takes.
        keywords: those to check.
        also: more keywords that the error may suggest.

    Raises:
        TypeError: with the nearest right keywords.
    """
    accepted = keywords_of(function)
    if accepted is None:
        return
    for keyword in keywords:
        if keyword not in accepted:
            raise TypeError(
                f"{name!r} takes no argument {keyword!r}{did_you_mean(keyword, {*accepted, *also})}"
            )


def keywords_of(function: Callable[..., Any]) -> set[str] | None:
    """Return the keywords that ``function`` takes, None where it takes any."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return set(parameters)


def takes(function: Callable[..., Any], *values: Any) -> bool:
    """Return whether ``function`` can be called with these positional values."""
    try:
        inspect.signature(function).bind(*values)
    # torch.relu and other built-in functions have no signature.
    except (TypeError, ValueError):
        return False
    return True
