r"""The command line: thin wrappers, one a command.

Flags and their help come from signatures and docstrings; ``fit FAMILY`` takes its flags from the
family's own arguments. Nothing heavy is imported before a command runs, so that help is quick.
Data goes to standard output, everything else to standard error. Exit codes:

    0 ok   2 usage   65 bad data   66 bad model   70 every family diverged   71 out of memory
    73 output exists or cannot be written   74 disk full   130, 143 after SIGINT, SIGTERM
"""

__all__ = ["app", "main"]

import dataclasses
import errno
import inspect
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import App, CycloptsError, Parameter

import fromnoise
from fromnoise.errors import ArtifactError, DataError, did_you_mean

app = App(
    name="fromnoise",
    help="Learn where your data comes from. Make more of it.",
    version=fromnoise.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
OK, USAGE, DIVERGED, NO_MEMORY, CANNOT_WRITE, DISK_FULL = 0, 2, 70, 71, 73, 74
BAD_DATA, BAD_MODEL = 65, 66
_SCALARS = (bool, int, float, str)
Number = Annotated[int | None, Parameter(name=["--n-samples", "-n"])]


@app.command
def compare(
    source: str,
    *,
    out: str,
    families: str | None = None,
    budget: str | None = None,
    label: str | None = None,
    image_size: int | None = None,
    encoding: str | None = None,
    seeds: int | None = None,
    test_fraction: float | None = None,
    n_samples: Number = None,
    random_state: int | None = None,
    force: bool = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    r"""Train every family on the same data under the same budget, and report which to use.

    Args:
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the report.
        families: Names with commas between, for instance gmm,flow.
        budget: Budget of each fit: 90s, 10m, "2000 steps", "20 epochs" or auto.
        label: Column that the models are conditional on.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
        seeds: How often each family is fitted.
        test_fraction: Share of the rows that is held out.
        n_samples: How many rows each model draws.
        random_state: Seed.
        force: Replace a report in OUT.
        as_json: Print report.json instead of a table.
    """
    given = _given(
        locals(), "budget label image_size encoding seeds test_fraction n_samples random_state"
    )
    if families is not None:
        given["families"] = [name.strip() for name in families.split(",") if name.strip()]
    result = fromnoise.compare(source, out=out, overwrite=force, **given)
    if as_json:
        print_line(json.dumps(result.report, indent=1))
    else:
        print_line(_summary(result.report))
        print_line(str(result.path / "index.html"))
    status = [row["status"] for row in result.report["rows"] if row["role"] == "family"]
    return OK if "ok" in status else DIVERGED


@app.command
def sample(
    run: str,
    *,
    n_samples: Number = None,
    random_state: int | None = None,
    y: str | None = None,
    out: str | None = None,
    force: bool = False,
) -> int:
    r"""Draw new rows from a saved model.

    Args:
        run: Folder of the model.
        n_samples: How many.
        random_state: Seed; without it every call draws afresh.
        y: Label that all rows are to have, for a conditional model.
        out: A .csv, .npy or .parquet file, or a folder of PNGs; without it CSV on the output.
        force: Replace what OUT names.
    """
    from fromnoise.data.sinks import open_sink

    model: Any = fromnoise.load(run)
    if not hasattr(model, "sample"):
        raise DataError(_why_absent(model, "sample"))
    n = 1 if n_samples is None else n_samples
    labelled = model.condition_ is not None
    blocks = model.sample_iter(n, _label(model, y), random_state=random_state, return_y=labelled)
    encoding = model.encoding_
    kind, pixels = encoding.kind, {}
    if kind == "images":
        pixels = {"layout": encoding.layout, "limits": (encoding.low, encoding.high)}
    with open_sink(out, kind=kind, n_rows=n, overwrite=force, **pixels) as sink:
        for block in blocks:
            sink.write(*(block if labelled else (block, None)))
    return OK


@app.command
def score(
    run: str,
    source: str,
    *,
    label: str | None = None,
    image_size: int | None = None,
    encoding: str | None = None,
) -> int:
    r"""Print log p(x) of each row of SOURCE, one number a line, in nats.

    Args:
        run: Folder of the model.
        source: Rows like those the model was fitted on.
        label: Column that holds y, for p(x | y); a table's own is known to the model.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
    """
    given = _given(locals(), "label image_size encoding")
    model: Any = fromnoise.load(run)
    if not hasattr(model, "score_samples"):
        raise DataError(_why_absent(model, "score_samples"))
    read = fromnoise.data.load(source, **given)
    if label is None and (label := _label_column(model, read.X)) is not None:
        read = fromnoise.data.load(read, label=label)
    y = read.y if label is not None else None
    for value in model.score_samples(read.X, y):
        print_line(repr(float(value)))
    return OK


@app.command
def info(run: str, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    r"""Say what a saved model is: family, arguments, data, state.

    Args:
        run: Folder of the model.
        as_json: Print JSON.
    """
    model: Any = fromnoise.load(run)
    facts = {
        "family": model.family,
        "arguments": _arguments(model),
        "kind": model.encoding_.kind,
        "columns": model.encoding_.feature_names or list(model.encoding_.shape),
        "conditional": model.condition_ is not None,
        "parameters": model.n_parameters_,
        "status": model.status_,
        "reason": model.status_reason_,
    }
    if as_json:
        print_line(json.dumps(facts, indent=1))
    else:
        for name, value in facts.items():
            print_line(f"{name}: {value}")
    return OK


@app.command
def fit(family: str, source: str, *, out: str) -> int:
    r"""Fit one family: fromnoise fit FAMILY SOURCE --out RUN.

    Families: gmm, autoencoder, vae, gan, diffusion, flow.
    Presets: iwae, wgan, wgan-gp, ddpm, ot-cfm, latent-flow.
    Flags and defaults of a family: fromnoise fit FAMILY --help

    Args:
        family: One of the names above.
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the saved model.
    """
    return main(["fit", family, source, "--out", out])


def _fit_app(name: str) -> App:
    r"""Return the command line of one family, made from its dataclass."""
    registry = fromnoise.families
    if name not in registry.PRESETS:
        raise _Usage(f"There is no family {name!r}.{did_you_mean(name, registry.PRESETS)}")
    flags = _flags(registry.make(name))

    def run(
        source: str,
        *,
        out: str,
        label: str | None = None,
        image_size: int | None = None,
        encoding: str | None = None,
        quiet: bool = False,
        force: bool = False,
        **values: Any,
    ) -> int:
        given = {k: v for k, v in values.items() if v is not None}
        model = registry.make(name, verbose=not quiet, **given)
        how = {"label": label, "image_size": image_size, "encoding": encoding}
        return _fit(model, source, out, force, {k: v for k, v in how.items() if v is not None})

    own = [p for p in inspect.signature(run).parameters.values() if p.kind is not p.VAR_KEYWORD]
    run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    run.__doc__ = _FIT_DOC.format(name=name)
    command = App(
        name=f"fromnoise fit {name}",
        help_format="plaintext",
        version_flags=(),
        suppress_keyboard_interrupt=False,
    )
    command.default(run)
    return command


_FIT_DOC = r"""Fit {name} and save the model.

    Args:
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the saved model.
        label: Column that the model is conditional on.
        image_size: What images of several sizes are resized to, in pixels.
        encoding: Of a CSV that is not UTF-8, for instance latin-1.
        quiet: Show no progress.
        force: Replace a model in OUT.
    """


def _flags(model: Any) -> list[inspect.Parameter]:
    r"""Return the arguments of an estimator that a flag can take; those not given are None."""
    family = type(model)
    hints = {**get_type_hints(family), "random_state": int}
    found = []
    for field in dataclasses.fields(family):
        hint = _priors(hints["prior"]) if field.name == "prior" else _flag_type(hints[field.name])
        if field.name == "verbose" or hint is None:
            continue
        text = _described(family, field.name, getattr(model, field.name))
        told = Parameter(help=text, negative_iterable=())
        annotation: Any = Annotated[Union[hint, None], told]  # noqa: UP007 - made at run time
        kind = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(field.name, kind, default=None, annotation=annotation))
    return found


def _priors(hint: Any) -> Any:
    r"""Return the names that a prior may have: words of the argument's own, and what samples."""
    registry = fromnoise.families
    own = get_args(_flag_type(hint) or Literal[()])
    return Literal[(*own, *(n for n in registry.PRESETS if hasattr(registry.make(n), "sample")))]


def _described(family: type, name: str, default: Any) -> str:
    r"""Return what a flag is for, and its default."""
    text = _help(family, name)
    value = getattr(default, "family", default)  # a preset may hold a model as prior
    if isinstance(value, tuple):
        value = " ".join(map(str, value))
    return f"{text} [default: {value}]".lstrip() if _scalar(value) and value is not None else text


def _fit(model: Any, source: str, out: str, force: bool, how: dict[str, Any]) -> int:
    _check_run(Path(out), force)
    read = fromnoise.data.load(source, **how)
    for note in read.note:
        logging.getLogger("fromnoise").info("%s", note)
    try:
        model.fit(read.X, read.y if "label" in how else None)
    except (KeyboardInterrupt, SystemExit):
        if getattr(model, "interrupted_", False):
            model.save(out, overwrite=True)
            logging.getLogger("fromnoise").info("What was learnt so far is saved in %s.", out)
        raise
    model.save(out, overwrite=True)
    logging.getLogger("fromnoise").info("Saved in %s.", out)
    if not hasattr(model, "sample"):
        logging.getLogger("fromnoise").info("It cannot sample without --prior, such as gmm.")
    if model.status_ == "ok":
        return OK
    logging.getLogger("fromnoise").warning("%s: %s", model.status_, model.status_reason_)
    return DIVERGED


def _check_run(path: Path, force: bool) -> None:
    r"""Refuse a folder that a model cannot be saved in, before any data is read."""
    from fromnoise.data.sinks import check_writable

    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} exists and is no folder. Choose another name.")
    if path.exists() and any(path.iterdir()) and not force:
        raise FileExistsError(f"{path} exists. Choose another folder, or replace it with --force.")
    check_writable(path)


# --- errors and exit codes --------------------------------------------------------------------


class _Usage(Exception):
    r"""A wrong call of the command line."""


def main(arguments: list[str] | None = None) -> int:
    r"""Run the command line.

    Args:
        arguments: Words after the program's name; None for those of this process.

    Returns:
        The exit code.
    """
    _prepare_streams()
    signal.signal(signal.SIGTERM, _terminated)
    words = sys.argv[1:] if arguments is None else arguments
    if len(words) > 1 and words[0] == "fit" and not words[1].startswith("-"):
        # The flags, and so the help, are those of the family.
        return _run(_fit_app, words[1:])
    return _run(app, words)


def _run(command: App | Callable[[str], App], words: list[str]) -> int:
    try:
        if not isinstance(command, App):
            command, words = command(words[0]), words[1:]
        result = command(
            words, exit_on_error=False, print_error=False, result_action="return_value"
        )
        if sys.stdout is not None:
            sys.stdout.flush()  # here a full disk or a closed pipe can still be told
        return result if isinstance(result, int) else OK
    except (CycloptsError, _Usage) as error:
        return _said(str(error), USAGE)
    except BrokenPipeError:
        # Whoever read our output has gone; the rest of it goes nowhere, without a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (KeyboardInterrupt, ValueError, MemoryError, OSError, RuntimeError) as error:
        code = _code(error)
        if code is None:
            raise
        return _said(_MESSAGES.get(code, str(error)), code)


def _code(error: BaseException) -> int | None:
    r"""Return the exit code of an error; None for one that is no user's mistake."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        return DISK_FULL if full else CANNOT_WRITE
    memory = "DefaultCPUAllocator" in str(error) or "out of memory" in str(error)
    return NO_MEMORY if memory else None


_CODES: dict[type[BaseException], int] = {
    DataError: BAD_DATA,
    ArtifactError: BAD_MODEL,
    FileExistsError: CANNOT_WRITE,
    MemoryError: NO_MEMORY,
    ValueError: USAGE,
    KeyboardInterrupt: 130,
}
_MESSAGES = {
    130: "Interrupted.",
    NO_MEMORY: "Out of memory. Try a smaller batch_size or network.",
}


def _said(message: str, code: int) -> int:
    if sys.stderr is not None:
        sys.stderr.write(f"fromnoise: {_one_line(message)}\n")
    return code


def _one_line(message: str) -> str:
    r"""Return text on one line, with control characters as escapes."""
    line = " ".join(part.strip() for part in message.split("\n") if part.strip())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class _OneLine(logging.Formatter):
    r"""Names come out of somebody's files: a terminal is to show them, not to obey them."""

    def format(self, record: logging.LogRecord) -> str:
        return _one_line(super().format(record))


def _prepare_streams() -> None:
    r"""Log to standard error, and write UTF-8 whatever the locale says, as files are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("fromnoise")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


# --- small things -----------------------------------------------------------------------------


def print_line(text: str) -> None:
    r"""Write a line of data to standard output."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "Standard output is closed.")
    sys.stdout.write(text + "\n")


def _given(values: dict[str, Any], names: str) -> dict[str, Any]:
    r"""Return the arguments that were given, so that defaults stay where they are declared."""
    return {name: values[name] for name in names.split() if values[name] is not None}


def _arguments(model: Any) -> dict[str, Any]:
    r"""Return a model's arguments as far as they can be read: a model among them by its repr."""
    given = {k: repr(v) if hasattr(v, "family") else v for k, v in model.get_params(False).items()}
    return {k: v for k, v in given.items() if _scalar(v) or _scalars(v)}


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, _SCALARS)


def _scalars(value: Any) -> bool:
    return isinstance(value, tuple) and value != () and all(map(_scalar, value))


def _flag_type(hint: Any) -> Any:
    r"""Return the part of a type that a flag can take; None if there is none."""
    if hint in _SCALARS or get_origin(hint) is Literal:
        return hint
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        scalars = all(part is Ellipsis or _flag_type(part) is not None for part in parts)
        return hint if parts and scalars else None
    if get_origin(hint) in (Union, UnionType):
        kept = [part for part in map(_flag_type, get_args(hint)) if part is not None]
        return Union[tuple(kept)] if kept else None  # noqa: UP007 - made at run time
    return None


def _help(family: type, name: str) -> str:
    r"""Return what the docstrings of a family and its bases say of an argument."""
    for cls in family.__mro__:
        lines = inspect.getdoc(cls) if cls.__doc__ else None
        for line in _entries(lines or ""):
            if line.startswith(f"{name}: "):
                return line.removeprefix(f"{name}: ").replace("``", "").replace("\\", "")
    return ""


def _entries(doc: str) -> list[str]:
    r"""Return the entries of a docstring's Args section, each on one line."""
    section = doc.partition("Args:\n")[2].partition("\n\n")[0]
    entries: list[str] = []
    for line in section.splitlines():
        if line.startswith("        "):
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    return entries


def _label(model: Any, text: str | None) -> Any:
    r"""Return the label that ``text`` stands for, in the type of the model's labels."""
    if text is None or model.condition_ is None:
        return text
    classes = model.condition_.classes_
    if classes is None:
        try:
            return [float(part) for part in text.split(",")]
        except ValueError as error:
            raise DataError(f"y must be numbers, got {text!r}.") from error
    known = {str(label): label for label in classes.tolist()}
    if text not in known:
        raise DataError(f"y has no class {text!r}.{did_you_mean(text, known)}")
    return known[text]


def _label_column(model: Any, X: Any) -> str | None:
    r"""Return the column that the model is conditional on, if the table X has it."""
    form = model.condition_.form if model.condition_ is not None else {}
    name = form.get("name")
    columns = [str(column) for column in getattr(X, "columns", ())]
    return name if name in columns else None


def _why_absent(model: Any, name: str) -> str:
    try:
        getattr(model, name)
    except AttributeError as error:
        return str(error)
    return ""


def _summary(report: dict[str, Any]) -> str:
    r"""Return the verdict and the metrics as plain text."""
    names = sorted({m for row in report["rows"] for m in row["metrics"]})
    head = ["", *names, "status"]
    lines = [
        [row["name"], *(_number(row["metrics"].get(m)) for m in names), row["status"]]
        for row in report["rows"]
    ]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    table = [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]
    return "\n".join([report["verdict"]["why"], "", *table, ""])


def _number(metric: dict[str, Any] | None) -> str:
    return "–" if metric is None else f"{metric['value']:.4g}"


if __name__ == "__main__":
    sys.exit(main())
