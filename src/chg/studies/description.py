"""Description of a study: what its manifest says was run, and the same in a paragraph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from torch import nn

from chg.config import ABLATION_WORDS, METRIC_WORDS, StudyConfig
from chg.data import TokenData
from chg.files import counted, short_name
from chg.models import describe_model, gate_shape, input_device
from chg.results import Checks, git_commit, origin


def describe_study(
    model: nn.Module,
    data: TokenData,
    held_out: TokenData,
    config: StudyConfig,
    command: Mapping[str, Any] | None,
) -> dict[str, Any]:
    described = describe_model(model)
    return {
        "title": f"{short_name(described['model'])} on {short_name(data.name)}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **origin(
            config,
            model=described,
            data=_describe(data),
            held_out=_describe(held_out),
            seeds=list(config.all_seeds),
            shape=list(gate_shape(model, config.unit)),
            unit=config.unit,
        ),
        "git_commit": git_commit(),
        "device": str(input_device(model)),
        "command": command,
    }


def _describe(data: TokenData) -> dict[str, Any]:
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "rows": len(data),
        "target_tokens": data.num_target_tokens,
    }


def summarize(manifest: Mapping[str, Any], proofs: Checks) -> str:
    """Say what was run, in a paragraph."""
    config, held_out = manifest["configuration"], manifest["held_out"]
    layers, heads = manifest["shape"]
    lambdas = StudyConfig(**config).lambdas
    strengths = ", ".join(f"{one:g}" for one in lambdas)
    ablated = ABLATION_WORDS[config["ablation"]].target
    starts = counted(config["seeds"], "starting point")
    model, data = (
        short_name(manifest[part][key]) for part, key in (("model", "model"), ("data", "name"))
    )
    note = METRIC_WORDS[config.get("metric", "logprob")].note
    noted = f" What is {note}." if note else ""
    checked = ""
    if proofs.curves:
        # Fewer seeds than were asked for, where more would cost more than ablating every head.
        seeds = counted(len(proofs.curves[0].heads), "seed")
        checked = ", and the scores were checked by toggling heads in their order from the G+ of "
        checked += seeds
    return (
        f"{starts} of {model} ({layers} layers x {heads} heads) "
        f"{'was' if config['seeds'] == 1 else 'were'} fitted on {manifest['data']['rows']} rows "
        f"of {data}, {config['batch_size']} in an update: first gates alone (G0, up to "
        f"{config['initial_steps']} updates), then from there with pressure to open (G+) and to "
        f"close (G-, up to {config['max_steps'] or 'all'} updates each), |lambda| {strengths}. "
        f"Then every head was ablated "
        f"{ablated}, alone, on {held_out['rows']} held-out rows ({held_out['target_tokens']} "
        f"scored tokens){checked}.{noted}"
    )
