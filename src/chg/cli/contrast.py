"""`chg contrast`: load both sides, fit, save, and what each side kept."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chg.cli import terminal
from chg.cli.parsing import flat_settings
from chg.cli.terminal import require_gate_file_name
from chg.config import (
    DEFAULT_DATASET,
    ContrastConfig,
    DataConfig,
    ForgetData,
    ModelConfig,
    RetainData,
    SharedData,
    TupleData,
)
from chg.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from chg.cli.inputs import OpenedInputs
    from chg.data import MatchedSplit, RawTuples, TokenData
    from chg.fitting import ContrastResult

logger = logging.getLogger(__name__)


EXAMPLES = """\
  chg contrast --model builtin:tiny --retain_dataset builtin:instruction \\
      --forget_dataset builtin:copy --max_steps 300 --batch_size 16
  chg contrast --model gpt2 --retain_dataset wikitext --forget_dataset biased.jsonl --alpha 1.0
  chg contrast --model builtin:tiny --tuples_dataset builtin:format --hold_out antonym \\
      --both_directions --alpha 0.5,1,2 --max_steps 300 --batch_size 8"""

LONGEST_NAME = 255
"""Bytes of a file's name at most."""

EACH = "each"
"""Value of `--hold_out` that stands for every task in turn."""


@dataclass(frozen=True)
class Output(terminal.Output):
    """Files for the gates."""

    out: str = "gates_contrastive.pt"
    """Gate file to write, .pt or .safetensors. Beside it go NAME.reversed.pt (the other direction),
    NAME.TASK.pt (each task held out), NAME.contrast.json (every fit's figures, where there is an
    alpha, a direction or a task more) and NAME.tradeoff.png (with several alphas)."""


@dataclass(frozen=True)
class Command:
    """Fit gates that keep the retain data and lose the forget data.

    Minimises max(alpha * logP(forget) - logP(retain), -bound) + lambda_reg * mean(gate logits) from
    several starts, and keeps the start that does both best on held-out rows. With several --alpha
    or --both_directions all of them are fitted in the same passes.
    """

    output: Output = field(default_factory=Output)
    model: ModelConfig = field(default_factory=ModelConfig)
    retain: RetainData = field(default_factory=RetainData)
    forget: ForgetData = field(default_factory=ForgetData)
    tuples: TupleData = field(default_factory=TupleData)
    data: SharedData = field(default_factory=SharedData)
    fit: ContrastConfig = field(default_factory=ContrastConfig)


def side_config(command: Command, side: str) -> DataConfig:
    """The data settings of `retain` or `forget`."""
    own = vars(getattr(command, side))
    named = {name.removeprefix(f"{side}_"): value for name, value in own.items()}
    named["dataset"] = named["dataset"] or DEFAULT_DATASET
    return DataConfig(**named, **vars(command.data))


def tuples_config(command: Command) -> DataConfig:
    """The data settings of matched tuples."""
    return DataConfig(
        dataset=command.tuples.tuples_dataset or "",
        dataset_config=command.tuples.tuples_dataset_config,
        dataset_split=command.tuples.tuples_dataset_split,
        **vars(command.data),
    )


def run(command: Command) -> None:
    """Fit and save."""
    from chg.cli.inputs import load_checked_model
    from chg.files import ensure_writable

    _require_one_kind_of_data(command)
    require_gate_file_name(command.output.out)
    ensure_writable(command.output.out)
    _require_room_in_name(command)
    opened = _open_tuples(command) if command.tuples.tuples_dataset else _open_sides(command)
    model, tokenizer = load_checked_model(command.model)
    from chg.cli.contrast_output import ContrastFiles, print_result, warn

    files = ContrastFiles(command.output.out, flat_settings(command))
    results: Iterable[ContrastResult]
    if isinstance(opened, OpenedTuples):
        results = _fit_tuples(command, opened, model, tokenizer)
    else:
        results = [_fit_two_sets(command, opened, model, tokenizer)]
    for result in results:
        print_result(result)
        files.write(result, apart=command.tuples.hold_out == EACH)
        warn(result)
    files.write_results()


def _require_room_in_name(command: Command) -> None:
    """The name of the gate file, which the names of all others begin with.

    Raises:
        OutputError: it is too long for them.
    """
    from chg.files import LONGEST_PART

    out = Path(command.output.out)
    room = len(".reversed.safetensors") + LONGEST_PART * (command.tuples.hold_out == EACH)
    if len(os.fsencode(out.stem)) + room >= LONGEST_NAME:
        raise OutputError(f"the name {out.name} is too long for the files beside it; shorten --out")


def _require_one_kind_of_data(command: Command) -> None:
    """Two data sets or matched tuples.

    Raises:
        ConfigError: both or neither are given, or a task is held out of data without tasks.
    """
    two_sets = command.retain != RetainData() or command.forget != ForgetData()
    if command.tuples.tuples_dataset is None:
        if command.tuples != TupleData():
            raise ConfigError(
                "--hold_out and --task_column need matched tuples: give --tuples_dataset"
            )
        if command.forget.forget_dataset is None:
            raise ConfigError(
                "--forget_dataset must be given: the behaviour to lose (or --tuples_dataset)"
            )
    elif two_sets:
        raise ConfigError(
            "--tuples_dataset holds both sides; leave out the --retain_... and --forget_... flags"
        )


def _open_sides(command: Command) -> list[OpenedInputs]:
    """Open the rows of the retain and of the forget side."""
    from chg.cli.inputs import open_inputs

    settings = command.fit
    return [
        open_inputs(
            side_config(command, side),
            settings.ablation,
            settings.seed,
            held_out=settings.eval_rows,
        )
        for side in ("retain", "forget")
    ]


def _fit_two_sets(
    command: Command, opened: list[OpenedInputs], model: Any, tokenizer: Any
) -> ContrastResult:
    from chg.fitting import fit_contrastive

    retain, forget = (side.tokenize(model, tokenizer) for side in opened)
    able = _say_competence(command, model, retain.held_out, forget.held_out)
    result = fit_contrastive(
        model,
        retain.data,
        forget.data,
        command.fit,
        held_out_retain=retain.held_out,
        held_out_forget=forget.held_out,
        show_progress=not command.output.quiet,
    )
    return _with_competence(result, able)


def _say_competence(
    command: Command, model: Any, retain: TokenData, forget: TokenData
) -> dict[str, Any]:
    """Say of each side whether the model does it, and return the figures."""
    from chg.cli.competence import say_competence

    batch_size = command.fit.batch_size
    return {
        side: say_competence(model, rows, batch_size=batch_size, side=side)
        for side, rows in (("retain", retain), ("forget", forget))
    }


def _with_competence(result: ContrastResult, able: Mapping[str, Any]) -> ContrastResult:
    """Note the competence on either side in the metadata of the gates of both directions."""
    metadata = {**result.gates.metadata, "competence": able}
    other = result.reversed
    if other is not None:  # it retains what this one forgets
        other = _with_competence(other, {"retain": able["forget"], "forget": able["retain"]})
    return replace(result, gates=replace(result.gates, metadata=metadata), reversed=other)


@dataclass(frozen=True)
class OpenedTuples:
    """Matched tuples opened and checked, which a tokenizer makes data of."""

    fitting: RawTuples
    validation: RawTuples | None


def _open_tuples(command: Command) -> OpenedTuples:
    """Open matched tuples to fit and to measure on."""
    from chg.cli.inputs import reach_hub
    from chg.data import open_held_out_tuples, open_tuples

    config, column, seed = tuples_config(command), command.tuples.task_column, command.fit.seed
    reach_hub(config.dataset)
    fitting = open_tuples(config, column, seed)
    validation = open_held_out_tuples(
        config, fitting.tasks, rows=command.fit.eval_rows, seed=seed, task_column=column
    )
    return OpenedTuples(fitting, validation)


def _fit_tuples(
    command: Command, opened: OpenedTuples, model: Any, tokenizer: Any
) -> Iterator[ContrastResult]:
    """A result for each task held out, as it comes."""
    from chg.fitting import fit_matched

    # All of them before the first fit, so that what cannot be held out is refused at once.
    for split in list(_splits(command, opened, model, tokenizer)):
        if split.task is not None:
            logger.info("fitting without task %s", split.task)
        able = _say_competence(command, model, split.held_out.retain, split.held_out.forget)
        result = fit_matched(model, split, command.fit, show_progress=not command.output.quiet)
        yield _with_competence(result, able)


def _splits(
    command: Command, opened: OpenedTuples, model: Any, tokenizer: Any
) -> Iterator[MatchedSplit]:
    from chg.data import split_tuples, tokenize_held_out_tuples, tokenize_tuples
    from chg.models import max_positions

    longest = max_positions(model)
    data, validation = tokenize_tuples(opened.fitting.cut_to(longest), tokenizer), None
    if opened.validation is not None:
        validation = tokenize_held_out_tuples(opened.validation.cut_to(longest), tokenizer)
    tasks: tuple[str | None, ...] = (command.tuples.hold_out,)
    if command.tuples.hold_out == EACH:
        tasks = data.task_names or tasks
    for task in tasks:
        yield split_tuples(data, validation, hold_out=task, seed=command.fit.seed)
