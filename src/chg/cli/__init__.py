"""The command line: `chg VERB`, one module per verb. Thin: parse, call, print."""

from chg.cli.main import main

__all__ = ["main"]
