"""Flags and YAML into one dataclass: defaults < `--config FILE.yaml` < flags.

tyro does the parsing; a YAML file is turned into flags that come before the user's own, so both are
checked in the same way and the later one wins. This is the only module that knows tyro.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from chg.config import RECIPES
from chg.errors import ConfigError, reason
from chg.files import read_text

Command = TypeVar("Command")


COMPLETION_FLAG = "--tyro-print-completion"
SHELLS = ("bash", "zsh", "fish")


TRUST = "--trust_remote_code"
"""Flag that a file may not set: only the user's own word runs a stranger's code."""


class UsageError(ConfigError):
    """The command line itself is wrong."""


def parse_command(
    command: type[Command], arguments: Sequence[str], verb: str, examples: str
) -> Command:
    """Parse flags into `command`, a dataclass of config dataclasses whose fields are the flags.

    Raises:
        UsageError: a flag or value is wrong.
        ConfigError: a value is outside what it may be.
        SystemExit: with code 0, after `--help`.
    """
    import tyro

    path = value_of(arguments, "--config")
    arguments = [*_from_yaml(command, path, arguments), *arguments]
    _require_text(arguments)
    doc = inspect.getdoc(command)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(
                command,
                args=arguments,
                default=_at_recipe(command, arguments),
                prog=f"chg {verb}",
                description=f"{doc}\n\nExamples:\n{examples.rstrip()}\n",
                use_underscores=True,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as error:
        if not error.code:
            raise
        text = captured.getvalue()
        raise UsageError(f"{_one_line(text)}{_suggestion(text)} (chg {verb} --help)") from None
    finally:
        if sys.exc_info()[0] is None:
            sys.stderr.write(captured.getvalue())


def print_completion(commands: Mapping[str, type], shell: str) -> None:
    """Print a script that completes verbs, flags and choices in a shell.

    Raises:
        UsageError: it is not one of `SHELLS`.
    """
    import tyro

    if shell not in SHELLS:
        raise UsageError(f"{COMPLETION_FLAG} must be followed by {', '.join(SHELLS)}")
    with contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            dict(commands),
            prog="chg",
            args=[COMPLETION_FLAG, shell],
            use_underscores=True,
            config=(tyro.conf.OmitArgPrefixes,),
        )


def _at_recipe(command: type[Command], arguments: Sequence[str]) -> Command:
    """The command at its defaults, those of the recipe that it is asked to follow."""
    defaults, recipe = command(), value_of(arguments, "--recipe")
    if recipe not in RECIPES:
        return defaults  # a wrong one is refused when it is parsed
    sections = {
        field.name: type(section)(recipe=recipe)
        for field in dataclasses.fields(command)  # type: ignore[arg-type]
        if hasattr(section := getattr(defaults, field.name), "recipe")
    }
    return dataclasses.replace(defaults, **sections)  # type: ignore[type-var]


def value_of(arguments: Sequence[str], flag: str) -> str | None:
    """Value that a flag has on a command line, before it is parsed: the last that it is given,
    None where it is not."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, value = argument.partition("=")
        if name == flag:
            found = value if equals else following or found
    return found


def flat_settings(command: Any) -> dict[str, Any]:
    """All flags of a parsed command with their values, as a YAML file would give them."""
    settings: dict[str, Any] = {}
    for section in dataclasses.fields(command):
        settings.update(dataclasses.asdict(getattr(command, section.name)))
    settings.pop("config", None)
    return settings


def _from_yaml(command: type, path: str | None, arguments: Sequence[str]) -> list[str]:
    """A YAML file of settings as flags, which the user's own arguments go with."""
    if path is None:
        return []
    known = {name: kind for section in _sections(command) for name, kind in section.items()}
    flags: list[str] = []
    for key, value in _read_yaml(path).items():
        name = str(key).replace("-", "_")
        if name not in known or name == "config":
            raise ConfigError(f"config file {path}: unknown setting {key!r}")
        parts = value if isinstance(value, list) else [value]
        if any(isinstance(part, list | dict | set) for part in parts):
            raise ConfigError(f"config file {path}: {name} must be one value, or a list of them")
        if known[name] == "bool":
            if not isinstance(value, bool):
                raise ConfigError(f"config file {path}: {name} must be true or false, got {value}")
            flags.append(f"--{name}" if value else f"--no_{name}")
        elif known[name].startswith("tuple"):
            flags += [f"--{name}", *map(str, parts)]
        else:
            flags.append(f"--{name}={value}")
    if TRUST in flags and not {TRUST, TRUST.replace("_", "-")} & set(arguments):
        raise ConfigError(
            f"config file {path} asks to run code that comes with a model; if you trust its "
            f"authors, give {TRUST} on the command line as well"
        )
    return flags


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(Path(path)))
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {reason(error)}") from error
    except Exception as error:  # `!!int x`, dates such as 2020-99-99: any error of their makers
        said = error if isinstance(error, yaml.YAMLError) else reason(error)
        raise ConfigError(f"config file {path} is not YAML: {said}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"config file {path} must hold `name: value` lines")
    return content


def _sections(command: type) -> list[dict[str, Any]]:
    """The settings of each section of a command, with their types as they are written."""
    defaults = command()
    return [
        {field.name: field.type for field in dataclasses.fields(getattr(defaults, section.name))}
        for section in dataclasses.fields(defaults)
    ]


def _require_text(arguments: Sequence[str]) -> None:
    """See that names can be written into results and messages.

    Raises:
        UsageError: one holds bytes that are not UTF-8, or a zero byte.
    """
    for argument in arguments:
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in argument):
            raise UsageError(f"{argument} holds bytes that are not UTF-8; give it another name")


def _one_line(text: str) -> str:
    """The message out of tyro's framed error, up to its first rule or empty line.

    A terminal without Unicode gets no frame: there a title and a rule stand before the message.
    """
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        content = line.strip("│ ")
        if not content.strip("─-") or content.startswith(("╭", "╰")):
            parts.append([])
        else:
            parts[-1].append(content)
    messages = [" ".join(lines) for lines in parts if lines]
    if "╭" not in text:
        messages = messages[1:] or messages
    return messages[0] if messages else "the command line could not be read"


def _suggestion(text: str) -> str:
    """The flags that tyro's framed error suggests, in half a sentence; empty where it has none."""
    suggested = text.partition("Perhaps you meant")[2]
    flags = re.findall(r"^[│ ] {5}(--[\w-]+)", suggested, re.MULTILINE)
    return f". Perhaps you meant: {' or '.join(dict.fromkeys(flags))}" if flags else ""
