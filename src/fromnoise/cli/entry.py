r"""The entry: words in, one command run, an exit code out."""

__all__ = ["app", "main"]

import os
import signal
import sys
from types import FrameType

from cyclopts import App, CycloptsError

import fromnoise
from fromnoise.cli.calls import EXACT, said_of
from fromnoise.cli.comparing import compare
from fromnoise.cli.describing import info
from fromnoise.cli.evaluating import evaluate
from fromnoise.cli.exits import OK, USAGE, UsageError, exit_code, message_of
from fromnoise.cli.fitting import family_app, fit
from fromnoise.cli.output import plain_warnings, prepare_streams, say
from fromnoise.cli.sampling import sample
from fromnoise.cli.scoring import score
from fromnoise.cli.transforming import encode, impute, reconstruct

app = App(
    name="fromnoise",
    help="Learn where your data comes from. Make more of it.",
    version=fromnoise.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    default_parameter=EXACT,
)
for command in (compare, encode, evaluate, fit, impute, info, reconstruct, sample, score):
    app.command(command)
app.register_install_completion_command(add_to_startup=False)


def main(arguments: list[str] | None = None) -> int:
    r"""Run the command line.

    Args:
        arguments: Words after the program's name; None for those of this process.

    Returns:
        The exit code.
    """
    prepare_streams()
    signal.signal(signal.SIGTERM, _terminated)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with plain_warnings():
            result = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here a full disk or a closed pipe can still be told
        return result if isinstance(result, int) else OK
    except CycloptsError as error:
        say(said_of(error))
        return USAGE
    except UsageError as error:
        say(str(error))
        return USAGE
    except BrokenPipeError:
        # Whoever read our output has gone; the rest of it goes nowhere, without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, ValueError, MemoryError, OSError, RuntimeError) as error:
        code = exit_code(error)
        if code is None:
            raise
        say(message_of(error))
        return code


def _run(words: list[str]) -> object:
    command = app
    if words[0:1] == ["fit"] and len(words) > 1 and words[1] not in ("--help", "-h"):
        if words[1].startswith("-"):
            raise UsageError("The family comes first: fromnoise fit FAMILY SOURCE --out RUN …")
        # The flags, and so the help, are those of the family.
        command, words = family_app(words[1]), words[2:]
    return command(words, exit_on_error=False, print_error=False, result_action="return_value")


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
