"""A model of an architecture that nothing knows."""

from __future__ import annotations

from torch import Tensor, nn

from support.tiny_models import LAYERS, VOCAB


class Mixer(nn.Module):
    """The part of a layer that stands for its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(32, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)


class Odd(nn.Module):
    """A model nobody has heard of."""

    def __init__(self, uses: int = 1, model_type: str = "odd") -> None:
        super().__init__()
        self.config = type("Config", (), {"model_type": model_type, "num_attention_heads": 4})()
        self.embed = nn.Embedding(VOCAB, 32)
        self.layers = nn.ModuleList(nn.ModuleDict({"mixer": Mixer()}) for _ in range(LAYERS))
        self.uses = uses

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def forward(self, input_ids: Tensor, **_: object) -> object:
        x = self.embed(input_ids)
        for layer in self.layers:
            for _use in range(self.uses):
                x = x + layer["mixer"](x)
        return type("Output", (), {"logits": x})()
