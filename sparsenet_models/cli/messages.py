"""What the command says: one printable line at a time, errors too."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..common.messages import first_line, is_out_of_memory, printable


def say(*lines: object, err: bool = False) -> None:
    """Print lines on stdout or stderr; no control character of a name or a path reaches a terminal."""
    for line in lines:
        click.echo(printable(str(line)), err=err)


def note(text: str) -> None:
    """Print a line on stderr that is no error."""
    say(f"sparsenet: {text}", err=True)


def error_line(text: object) -> None:
    """Print a line on stderr about one of many files or names; the command goes on."""
    say(f"Error: {text}", err=True)


class OneLineErrors(click.Group):
    """Print every error about input as one line on stderr; exit with 1, or 2 where click refuses the call."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _in_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        # A name that the terminal's encoding lacks must not end the command.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        with _in_one_line():
            return super().invoke(context)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # click exits quietly when the reader of a pipe has gone
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            raise  # its message is the help
        hint = "" if error.ctx is None else f" ({error.ctx.command_path} --help)"
        raise _UsageError(printable(error.format_message() + hint)) from error
    except click.ClickException as error:
        raise click.ClickException(printable(error.format_message())) from error
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(printable(_text(error))) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise click.ClickException(printable(f"not enough memory: {first_line(error)}")) from error


def _text(error: Exception) -> str:
    """Return the message of an error, without the number that the operating system gives it."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


class _UsageError(click.ClickException):
    """Click's own prints three lines more."""

    exit_code = 2
