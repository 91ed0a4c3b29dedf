"""`chg tasks`: the tasks that any model can be asked, and those that one can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chg.cli.terminal import Output, print_table
from chg.config import DataConfig, MeasuredModel, TaskCheck
from chg.data import TokenData, open_rows, tokenize_rows
from chg.errors import DataError
from chg.task_rows import INSTRUCTION, Task, tasks

EXAMPLES = """\
  chg tasks
  chg tasks --model gpt2
  chg tasks --model HuggingFaceTB/SmolLM2-135M --limit 128"""

LONGEST_PROMPT = 60
"""Letters of an example's end that are shown."""
MOST_FORMS = 4
"""Configurations that are all named; of more, a range and the last."""


@dataclass(frozen=True)
class Command:
    """List the tasks for --dataset task:NAME; with a model, measure which of them it can do."""

    model: MeasuredModel = field(default_factory=MeasuredModel)
    check: TaskCheck = field(default_factory=TaskCheck)
    output: Output = field(default_factory=Output)


def run(command: Command) -> None:
    """Print the tasks, or what the model can do of them."""
    if command.model.model:
        _measure(command)
        return
    columns = ("task", "asks", "an example", "--dataset_config")
    rows = [_described(task) for task in tasks().values()]
    print_table("tasks, each as --dataset task:NAME", columns, rows, text=len(columns))


def _described(task: Task) -> tuple[str, ...]:
    row = task.example
    prompt = " ".join(row.prompt.split())
    if len(prompt) > LONGEST_PROMPT:
        prompt = f"... {prompt[-LONGEST_PROMPT:].partition(' ')[2]}"
    forms = task.configurations
    if len(forms) > MOST_FORMS:
        forms = (f"{forms[0]} to {forms[-2]}", forms[-1])
    shown = f"{', '.join(forms)} ({task.default or 'both'} if not given)" if forms else "-"
    return task.name, task.description, f"{prompt} -> {row.target} (not {row.foil})", shown


def _measure(command: Command) -> None:
    """Measure a model on held-out rows of each task, and print one table."""
    from chg.cli.inputs import load_checked_model
    from chg.models import max_positions
    from chg.progress import progress_bar

    model, tokenizer = load_checked_model(command.model)
    forms = [
        (task, config)
        for task in tasks().values()
        for config in ((task.default, INSTRUCTION) if task.default else (None,))
    ]
    data = [_rows(*form, command.check, tokenizer, max_positions(model)) for form in forms]
    rows = []
    with progress_bar(
        len(forms), "measuring", show=not command.output.quiet, unit="task"
    ) as progress:
        for (task, config), held_out in zip(forms, data, strict=True):
            name = f"{task.name}{f', {config}' if config else ''}"
            rows.append((name, *_figures(model, held_out, command.check)))
            progress.update()
    columns = ("task", "rows", "right", "above foil", "NLL", "exchanged", "does it")
    print_table(f"{command.model.model}: held-out rows of every task", columns, rows)


def _rows(
    task: Task, config: str | None, check: TaskCheck, tokenizer: Any, longest: int | None
) -> TokenData | None:
    """Held-out rows of a task; None where the tokenizer cannot be asked any."""
    settings = DataConfig(
        dataset=f"task:{task.name}",
        dataset_config=config,
        dataset_split="validation",
        limit=check.limit,
    )
    opened = open_rows(settings, check.seed).cut_to(longest)
    try:
        return tokenize_rows(opened, tokenizer)
    except DataError:
        return None


def _figures(model: Any, data: TokenData | None, check: TaskCheck) -> Sequence[str]:
    """Figures of a task in the order of the table; dashes where it cannot be asked."""
    if data is None:
        return "0", "-", "-", "-", "-", "no words"
    from chg.engine import competence, evaluate

    able = competence(model, data, batch_size=check.batch_size, seed=check.seed)
    differences = evaluate(model, data, batch_size=check.batch_size, metric="logit_diff").sums
    return (
        str(able.rows),
        f"{able.accuracy:.0%}",
        f"{(differences > 0).mean():.0%}",
        f"{able.nll:.3f}",
        f"{able.exchanged_nll:.3f}",
        "yes" if able.does_task else "no",
    )
