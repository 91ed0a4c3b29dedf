"""Dispatch: find the verb, parse its flags, run it, turn errors into one line and an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from chg.cli.parsing import UsageError, parse_command
from chg.errors import ChgError

VERBS = {
    "study": "all of it with many seeds: roles with uncertainty, a causal check, a report",
    "validate": "check a study causally: toggle heads in order of each score",
    "fit": "fit one gate per head: initialisation, retention or removal",
    "ablate": "take heads out and measure what happens, one by one or one after another",
    "contrast": "fit gates that keep one behaviour and lose another",
    "analyze": "draw and rank: pictures, head_rankings.csv and summary_report.txt",
    "inspect": "print what there is to gate in a model, and check that gates work on it",
    "selftest": "check this installation on small models whose right answers are known",
    "demo": "a study of the built-in model, told in plain words",
}
"""Verbs and what they do; each lives in `chg.cli.VERB`."""

USAGE_EXIT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 for success, 1 for a self-test that failed, 2 for bad input (one line on stderr says what is
    wrong and what to do), 130 for an interrupt.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        _out(_overview())
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        _out(_version())
        return 0
    try:
        if verb not in VERBS:
            raise UsageError(f"unknown command {verb!r}; choose from {', '.join(VERBS)}")
        module = importlib.import_module(f"chg.cli.{verb}")
        positional = getattr(module, "POSITIONAL", None)
        if positional and rest and not rest[0].startswith("-"):
            rest = [f"--{positional}", *rest]
        command = parse_command(module.Command, rest, verb, module.EXAMPLES)
        _set_up(quiet=getattr(command.output, "quiet", False))
        code: int | None = module.run(command)
        return code or 0
    except ChgError as error:
        print(f"chg {verb}: {error}", file=sys.stderr)  # noqa: T201
        return USAGE_EXIT
    except BrokenPipeError:  # whoever read our output has gone, as in `chg study --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        after = "--resume goes on from here" if verb == "study" else "nothing half-written"
        print(f"chg {verb}: interrupted; {after}", file=sys.stderr)  # noqa: T201
        return 130


def _set_up(*, quiet: bool) -> None:
    """Log to stderr, and keep the libraries underneath from talking over us."""
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("chg").setLevel(level)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if quiet:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return (
        "Contextual Head Gating: what every attention head of a language model does for a task.\n\n"
        f"usage: chg VERB [OPTIONS]\n\n{verbs}\n\n"
        "chg VERB --help lists every option with its default, and examples.\n"
        "Start with: chg demo"
    )


def _version() -> str:
    from chg import __version__

    return __version__


def _out(text: str) -> None:
    print(text)  # noqa: T201
