"""Targets: what the predictions at scored positions are held against, by any metric.

`logprob` needs the target tokens, `logit_diff` the tokens of wrong answers as well, and `kl` what
the ungated model predicts there. Logits come in the model's dtype, everything after them is in (at
least) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from chg.config import Metric
from chg.data import Batch

LMHead = Callable[[Float[Tensor, "target 1 *width"]], Float[Tensor, "target vocab"]]
"""From the output of the last layer to logits."""


@dataclass(frozen=True)
class Targets:
    """Tokens and predictions that those at scored positions of a batch are held against."""

    tokens: Int[Tensor, "target"]
    metric: Metric = "logprob"
    foils: Int[Tensor, "target"] | None = None
    """Tokens of wrong answers, for `logit_diff`."""
    ungated: Float[Tensor, "target *width"] | None = None
    """Output of the ungated model's last layer, or its logits where no head is given; for `kl`."""

    @classmethod
    def of(cls, batch: Batch, metric: Metric = "logprob", ungated: Tensor | None = None) -> Targets:
        """Take those of a batch."""
        return cls(batch.tokens, metric, batch.foils, ungated)

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def repeat(self, times: int) -> Targets:
        """All targets `times` over, as `Batch.repeat` has them."""
        return self._each(lambda tensor: tensor.repeat(times, *[1] * (tensor.dim() - 1)))

    def split(self, size: int) -> list[Targets]:
        """Split into pieces of at most so many targets."""
        starts = range(0, len(self.tokens), size)
        return [self._each(lambda tensor, at=start: tensor[at : at + size]) for start in starts]  # type: ignore[misc]

    def score(
        self, logits: Float[Tensor, "target vocab"], head: LMHead | None = None
    ) -> tuple[Float[Tensor, "target"], Float[Tensor, "target"], Bool[Tensor, "target"]]:
        """Score predictions.

        Returns:
            The metric of every target; its log-probability; and whether no token is more likely.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        of_targets = logits.detach().gather(1, self.tokens[:, None])[:, 0]
        correct = of_targets >= logits.detach().amax(1)
        if self.metric == "logprob":
            logprobs = self._logprobs(logits)
            return logprobs, logprobs, correct
        values = (
            self._differences(logits) if self.metric == "logit_diff" else self._kl(logits, head)
        )
        return values, self._logprobs(logits.detach()), correct

    def _logprobs(self, logits: Tensor) -> Tensor:
        return -functional.cross_entropy(logits, self.tokens, reduction="none")

    def _differences(self, logits: Tensor) -> Tensor:
        assert self.foils is not None
        both = logits.gather(1, torch.stack([self.tokens, self.foils], dim=1))
        return both[:, 0] - both[:, 1]

    def _kl(self, logits: Tensor, head: LMHead | None) -> Tensor:
        """Minus the KL divergence of the predictions from those of the ungated model."""
        assert self.ungated is not None
        with torch.no_grad():
            expected = (self.ungated if head is None else head(self.ungated)).to(logits.dtype)
            expected = expected.log_softmax(-1)
            weights = expected.exp()
        differences = weights * (logits.log_softmax(-1) - expected)
        # A token that cannot come has a logit of minus infinity under both, and no part in the sum.
        return differences.masked_fill(weights == 0, 0).sum(-1)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Targets:
        return replace(
            self,
            tokens=change(self.tokens),
            foils=None if self.foils is None else change(self.foils),
            ungated=None if self.ungated is None else change(self.ungated),
        )
