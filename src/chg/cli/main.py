"""Dispatch: find the verb, parse its flags, run it, turn errors into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from chg.cli.parsing import COMPLETION_FLAG, UsageError, parse_command, print_completion
from chg.errors import ChgError, one_line, reason
from chg.interrupts import interrupted, say_interrupted

VERBS = {
    "study": "all of it with many seeds: roles with uncertainty, a causal check, a report",
    "validate": "check a study causally: toggle heads in order of each score",
    "compare": "compare studies head by head: two tasks, or a base and a fine-tuned model",
    "fit": "fit one gate per head: initialisation, retention or removal",
    "ablate": "take heads out and measure what happens, one by one or one after another",
    "contrast": "fit gates that keep one behaviour and lose another",
    "export": "write the ranking of a study for another tool",
    "analyze": "draw and rank: pictures, head_rankings.csv and summary_report.txt",
    "tasks": "list the tasks that any model can be asked, or measure which it can do",
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
    if arguments and arguments[0] == "help":
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        _out(_overview())
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb in ("-V", "--version"):
        _out(_version())
        return 0
    try:
        if COMPLETION_FLAG in arguments:
            _print_completion(arguments)
            return 0
        return _run(verb, rest)
    except BrokenPipeError:  # whoever read our output has gone, as in `chg study --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if interrupted() or isinstance(error, KeyboardInterrupt):
            return say_interrupted(arguments)
        if not isinstance(error, ChgError | OSError):
            raise
        name = "chg" if verb.startswith("-") else f"chg {verb}"
        print(f"{name}: {_in_one_line(error, verb)}", file=sys.stderr)  # noqa: T201
        return USAGE_EXIT


def _in_one_line(error: ChgError | OSError, verb: str) -> str:
    """A line for an error that is not the program's: of the input, or of the machine."""
    if isinstance(error, ChgError):
        return str(error)
    where = f" ({error.filename})" if error.filename else ""
    again = "--resume goes on" if verb == "study" else "run it again"
    return one_line(f"{reason(error)}{where}; {again} when that is mended")


def _run(verb: str, rest: list[str]) -> int:
    """Parse the flags of a verb, run it and return its exit code.

    Raises:
        UsageError: there is no such verb, or a flag or value of it is wrong.
    """
    if verb not in VERBS:
        raise UsageError(_unknown(verb))
    module = importlib.import_module(f"chg.cli.{verb}")
    positional = getattr(module, "POSITIONAL", None)
    if positional and rest and not rest[0].startswith("-"):
        rest = [f"--{positional}", *rest]
    if hasattr(module, "own_settings"):
        rest = module.own_settings(rest)
    command = parse_command(module.Command, rest, verb, module.EXAMPLES)
    _set_up(quiet=command.output.quiet)
    code: int | None = module.run(command)
    return code or 0


def _unknown(verb: str) -> str:
    """A line about a first word that is no verb, with the nearest one if there is one."""
    if verb.startswith("-"):
        return f"{verb} must follow a command, as in `chg fit {verb}` (chg --help)"
    near = difflib.get_close_matches(verb, VERBS, n=1)
    if near:
        return f"unknown command {verb!r}; perhaps you meant: {near[0]} (chg --help)"
    return f"unknown command {verb!r}; choose from {', '.join(VERBS)}"


def _print_completion(arguments: Sequence[str]) -> None:
    """Print completion of all verbs: a script of one verb would take the name `chg` for itself."""
    place = arguments.index(COMPLETION_FLAG) + 1
    commands = {verb: importlib.import_module(f"chg.cli.{verb}").Command for verb in VERBS}
    print_completion(commands, arguments[place] if place < len(arguments) else "")


def _set_up(*, quiet: bool) -> None:
    """Log to stderr, and keep the libraries underneath from talking over us."""
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("chg").setLevel(level)
    for name in ("bitsandbytes", "torchao", "torch.utils._pytree"):  # of what they could do without
        logging.getLogger(name).setLevel(logging.ERROR)
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
        f"chg {COMPLETION_FLAG} bash (zsh, fish) prints completion for a shell.\n"
        "Start with: chg demo"
    )


def _version() -> str:
    from chg import __version__

    return __version__


def _out(text: str) -> None:
    print(text)  # noqa: T201
