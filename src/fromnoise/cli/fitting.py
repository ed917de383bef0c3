r"""``fit``: one family on one source, saved."""

__all__ = ["family_app", "fit"]

import inspect
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

import fromnoise
from fromnoise.cli.calls import EXACT
from fromnoise.cli.describing import facts_of
from fromnoise.cli.exits import DIVERGED, OK, UsageError, check_one_of
from fromnoise.cli.flags import flags_of
from fromnoise.cli.output import print_json
from fromnoise.cli.reading import Json, Reading
from fromnoise.errors import did_you_mean

logger = logging.getLogger("fromnoise")


# Written here too, so that help and completion load no family; a test holds it to the registry.
Family = Literal[
    "gmm",
    "autoencoder",
    "vae",
    "gan",
    "diffusion",
    "flow",
    "latent-flow",
    "ddpm",
    "iwae",
    "ot-cfm",
    "wgan",
    "wgan-gp",
]


def fit(family: Family, source: str, *, out: str) -> int:
    r"""Fit one family: fromnoise fit FAMILY SOURCE --out RUN.

    Flags and defaults of a family: fromnoise fit FAMILY --help

    Args:
        family: A family, or one with arguments of its own, such as wgan-gp.
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the saved model.
    """
    command = family_app(family)
    how: Any = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
    code: int = command([source, "--out", out], **how)
    return code


def family_app(name: str) -> App:
    r"""Return the command line of one family, made from its dataclass."""
    registry = fromnoise.families
    if name not in registry.PRESETS:
        raise UsageError(f"There is no family {name!r}.{did_you_mean(name, registry.PRESETS)}")
    flags = flags_of(registry.make(name))

    def run(
        source: str,
        *,
        out: str,
        how: Reading = Reading(),  # noqa: B008 - frozen
        quiet: bool = False,
        resume: bool = False,
        force: bool = False,
        as_json: Json = False,
        **values: Any,
    ) -> int:
        given = {k: v for k, v in values.items() if v is not None}
        model = registry.make(name, verbose=not quiet, run_dir=out, **given)
        _check_run(Path(out), resume, force)
        code = _fit(model, source, force, how)
        if as_json:
            print_json(facts_of(model.set_params(run_dir=None), out))
        return code

    own = [p for p in inspect.signature(run).parameters.values() if p.kind is not p.VAR_KEYWORD]
    run.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    run.__doc__ = _DOC.format(name=name)
    command = App(
        name=f"fromnoise fit {name}",
        help_format="plaintext",
        version_flags=(),
        suppress_keyboard_interrupt=False,
        default_parameter=EXACT,
    )
    command.default(run)
    return command


_DOC = r"""Fit {name} and save the model.

    Args:
        source: A CSV, a folder of images, a .npy file, or a built-in set such as digits.
        out: Folder of the saved model.
        quiet: Show no progress.
        resume: Continue the unfinished fit in OUT, if there is one, to the same model.
        force: Replace a model or an unfinished fit in OUT.
        as_json: Print one JSON document about the model, as info does.
    """


def _fit(model: Any, source: str, force: bool, how: Reading) -> int:
    read = how.load(source)
    try:
        with fromnoise.training.replacing(model.run_dir) if force else nullcontext():
            model.fit(read.X, read.y if how.label is not None else None)
    except (KeyboardInterrupt, SystemExit):
        if getattr(model, "interrupted_", False):
            logger.info("What was learnt so far is saved in %s; --resume goes on.", model.run_dir)
        raise
    logger.info("Saved in %s.", model.run_dir)
    if not hasattr(model, "sample"):
        logger.info("It cannot sample without --prior, such as gmm.")
    if model.status_ == "ok":
        return OK
    logger.warning("%s: %s", model.status_, model.status_reason_)
    return DIVERGED


def _check_run(path: Path, resume: bool, force: bool) -> None:
    r"""Refuse a folder that a model cannot be saved in, before any data is read."""
    from fromnoise.data.sinks import check_writable

    check_one_of(resume, force)
    if path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} exists and is no folder. Choose another name.")
    finished = path.exists() and not force and fromnoise.training.is_finished(path)
    if resume and finished:
        raise FileExistsError(
            f"{path} holds a fit that has ended. Choose another folder, or replace it with"
            " --force."
        )
    if path.exists() and any(path.iterdir()) and not (resume or force):
        unfinished = any(path.glob("step-*")) and not finished
        more = ", continue its fit with --resume" if unfinished else ""
        raise FileExistsError(
            f"{path} exists. Choose another folder{more}, or replace it with --force."
        )
    check_writable(path)
