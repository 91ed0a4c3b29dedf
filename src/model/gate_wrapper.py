"""Put gates on the attention heads of a model: the functions of `chg`, from a clone.

Heads that are not found need no edit here. Print the model, read two names off one of its layers,
and register them; `get_attention_module` finds the heads from then on:

    register_architecture("my_model_type", attention="self_attn", projection="o_proj")
    get_attention_module(model, 0)
"""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("chg") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chg import (
    HeadGates,
    attach,
    find_head_sites,
    gated,
    get_attention_module,
    register_architecture,
)

__all__ = [
    "HeadGates",
    "attach",
    "find_head_sites",
    "gated",
    "get_attention_module",
    "register_architecture",
]
