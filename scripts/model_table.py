"""Check gates on a tiny random model of every causal decoder class that transformers knows.

    python scripts/model_table.py --out docs/models.md

1. Every `AutoModelForCausalLM` and image-text-to-text configuration class is built tiny.
2. Its heads are looked for, and `check_head_sites` runs on it (what gates promise, on four tokens).
3. The verdicts go into a table, with the reason where there is no check to report.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from chg.engine.capabilities import capabilities
from chg.errors import ArchitectureError
from chg.files import atomic_path
from chg.gating.check import check_head_sites
from chg.models.architectures import find_head_sites
from chg.models.describe import is_encoder_decoder, text_decoder
from chg.models.layouts import NOT_TEXT_DECODERS

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.tiny_configs import tiny_config

SECONDS = 60
"""time a single class may take"""

NO_SOFTMAX = ("falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm")
"""Model types without softmax attention in any layer: there are no heads to gate."""

SUPPORTED, NOT_APPLICABLE, UNSUPPORTED, UNCHECKED = (
    "supported",
    "not applicable",
    "unsupported",
    "not checked",
)


def verdict(model_type: str, auto: Any) -> tuple[str, str]:
    """One of the four verdicts, and what it rests on."""
    if model_type in NO_SOFTMAX:
        return NOT_APPLICABLE, "no softmax attention"
    if model_type in NOT_TEXT_DECODERS:
        return NOT_APPLICABLE, NOT_TEXT_DECODERS[model_type]
    try:
        torch.manual_seed(0)
        model = text_decoder(auto.from_config(tiny_config(model_type)).eval())
    except Exception as error:  # whatever a class of transformers raises for small sizes
        return UNCHECKED, f"no tiny model of it: {_first_line(error)}"
    if is_encoder_decoder(model):
        return NOT_APPLICABLE, "an encoder-decoder"
    try:
        sites = find_head_sites(model)
        check_head_sites(model, sites)
        starts = capabilities(model).mode
    except ArchitectureError as error:
        did_not_run = error.__cause__ is not None
        return UNCHECKED if did_not_run else UNSUPPORTED, _first_line(error)
    except Exception as error:  # a class that does not even tell its input embedding
        return UNCHECKED, _first_line(error)
    layers = f"{len(sites)} of {sites.num_layers} layers, " if len(sites) < sites.num_layers else ""
    first = sites[0]
    return (
        SUPPORTED,
        f"{layers}`{first.path}`, {first.num_heads} heads of {first.head_dim}; {starts}",
    )


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    return text.split(". Register it")[0].replace("|", "/")[:160]


def _out_of_time(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def main() -> None:
    """Check every class and write the table."""
    parser = argparse.ArgumentParser(description="Write the table of supported models.")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    out: Path = parser.parse_args().out
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGALRM, _out_of_time)
    text: Any = AutoModelForCausalLM
    image_and_text: Any = AutoModelForImageTextToText
    kinds = dict.fromkeys(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, image_and_text)
    kinds |= dict.fromkeys(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, text)
    rows = []
    for model_type in tqdm(sorted(kinds), desc="checking", disable=None):
        signal.alarm(SECONDS)
        rows.append((model_type, *verdict(model_type, kinds[model_type])))
        signal.alarm(0)
    counts = Counter(result for _, result, _ in rows)
    summary = ", ".join(
        f"{counts[name]} {name}" for name in (SUPPORTED, NOT_APPLICABLE, UNSUPPORTED, UNCHECKED)
    )
    lines = [
        "# Models",
        "",
        f"All {len(rows)} causal decoder and image-text-to-text classes of transformers "
        f"{transformers.__version__}: {summary}.",
        "",
        "Made by `python scripts/model_table.py --out docs/models.md`: a tiny random model of each",
        "is built, and the check that runs whenever gates first meet a model runs on it (gates of",
        "1 leave the logits bit for bit as they were; a closed head empties its own slice and no",
        "other). Not checked means that no tiny model could be built, or none that runs on text",
        "alone; the check then runs on your model. The last word says how the engine runs it: with",
        "passes that start inside layers, at the beginning of layers, or only as a whole.",
        "",
        "| model type | verdict | heads, or the reason |",
        "|---|---|---|",
        *(f"| `{model_type}` | {result} | {reason} |" for model_type, result, reason in rows),
    ]
    with atomic_path(out) as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(summary)


if __name__ == "__main__":
    main()
