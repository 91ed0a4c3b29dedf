"""A stock model run from inside one of its layers on, and only where something is scored.

The model's own forward pass runs; nothing of it is written down here. While a `PartialForward` is
entered, the model's layers, attentions and output projections are wrapped:

1. Layers below the start hand on what they are given. The start layer is given the residual stream
   kept from an earlier pass, and its attention returns the projection of the heads kept from there.
2. From the start on, each row's heads are multiplied by that row's gates, as `gate_wrapper` does.
3. At the last layer in which any gate is open, its attention is run up to the projection, and then
   the layer again with the scored positions alone, its attention returning their projected heads.
   Above, attentions return the projection of nothing, or of the reference that fills up closed
   gates. Each position is then a row of its own.
4. What leaves the last layer goes through the rest of the model in pieces (`head`).

What a model allows is found out once, by comparing with plain passes (`ability.py`): all of this
(`inside`); a start at the beginning of a layer (`layers`), where an attention does more after its
projection; or neither (`whole`), where layers pass each other more than the residual stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from chg.config import Recompute
from chg.engine.activations import cheaper_activations
from chg.engine.state import Outputs, Pass, Reached, State, at_positions, first_output
from chg.errors import ConfigError
from chg.gating import scale_heads
from chg.models import HeadSite, HeadSites


class PartialForward:
    """A model whose passes start and end where they need to; use as a context.

    Args:
        model: a causal language model, frozen.
        sites: its heads; `sites.layers` must be known.
        outputs: how its layers and attentions return what they return.
        inside: whether attentions return what their projection returns.
        recompute: what a backward pass computes again in place of keeping it.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: HeadSites,
        outputs: Outputs,
        *,
        inside: bool,
        recompute: Recompute = "none",
    ) -> None:
        self.model = model
        self.sites = sites
        self.outputs = outputs
        self.inside = inside
        self.recompute = recompute
        self._site_of = {site.layer: site for site in sites}
        self._pass: Pass | None = None
        self._leaving: Tensor | None = None
        self._handles: list[RemovableHandle] = []
        self._patched: list[tuple[nn.Module, Any]] = []

    @property
    def last_layer(self) -> int:
        """Index of the last layer that is run over text."""
        return max(self.outputs.layers)

    def cut_for(self, open_layers: list[int]) -> int:
        """The last layer that must see all positions, given those whose gates are not all 0."""
        if not self.inside:
            return self.last_layer
        headless = [i for i in self.outputs.layers if i not in self._site_of]
        return max([0, *open_layers, *headless])

    def __enter__(self) -> PartialForward:
        try:
            for i in self.outputs.layers:
                layer = self.sites.layers[i]
                self._patch(layer, self._layer(i, layer.forward))
            for module, forward in cheaper_activations(
                self.model, made_again=self.recompute == "none"
            ):
                self._patch(module, forward)
            if self.recompute == "mlp":
                for mlp in self._mlps():
                    self._patch(mlp, self._recomputed(mlp.forward))
            for site in self.sites:
                if self.inside:
                    self._patch(site.attention, self._attention(site, site.attention.forward))
                # First, so that kept heads are those before any gates of the user's own.
                scale = self._projection(site)
                self._handles.append(site.projection.register_forward_pre_hook(scale, prepend=True))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for module, before in reversed(self._patched):
            if before is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = before
        self._handles.clear()
        self._patched.clear()

    def run(
        self,
        inputs: Mapping[str, Tensor],
        gates: Float[Tensor, "row layer head"],
        scored: Int[Tensor, "scored"],
        *,
        start: int = 0,
        entering: State | None = None,
        cut: int | None = None,
        keep: Mapping[int, Tensor] | None = None,
        reference: Mapping[int, Tensor] | None = None,
    ) -> tuple[Float[Tensor, "scored 1 *width"], dict[int, State]]:
        """Run rows, each under its own gates, and return what leaves the last layer.

        Args:
            inputs: `input_ids` and `attention_mask`, and whatever else the model takes.
            gates: one matrix per row.
            scored: positions to carry on to the end, `row * length + pos`.
            start: the layer to start in, with `entering`.
            cut: the last layer that sees all positions; the last of all if not given.
            keep: layers -> rows whose state to return; at or below `cut`.
            reference: layer -> what closed gates are filled up with, `[1 or row, 1 or pos, width]`,
                of the first rows where the others are copies of them.

        Returns:
            The residual stream at the scored positions, and the states asked for.
        """
        cut = self.last_layer if cut is None else cut
        length = inputs["input_ids"].shape[1]
        now = Pass(gates, start, entering, cut, scored, keep or {}, reference, length)
        self._pass = now
        try:
            self.model(**inputs, use_cache=False)
        except Reached as reached:
            return reached.value, now.kept
        finally:
            self._pass = None
        raise AssertionError("the last layer was not run")

    def head(self, leaving: Float[Tensor, "scored 1 *width"]) -> Float[Tensor, "scored vocab"]:
        """Logits of what left the last layer, through the rest of the model."""
        ids = torch.zeros(leaving.shape[:2], dtype=torch.long, device=leaving.device)
        self._leaving = leaving
        try:
            logits = self.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).logits
        finally:
            self._leaving = None
        flat: Tensor = logits.flatten(0, 1)
        return flat

    def _patch(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._patched.append((module, module.__dict__.get("forward")))
        module.__dict__["forward"] = forward  # modules of a TransformerBridge pass attributes on

    def _layer(self, i: int, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            def call(value: Tensor) -> Any:
                if args:
                    return original(value, *args[1:], **kwargs)
                return original(**{**kwargs, "hidden_states": value})

            hidden = args[0] if args else kwargs["hidden_states"]
            if self._leaving is not None:
                leaving = self._leaving if i == self.last_layer else hidden
                return self.outputs.layer(i, leaving)
            now = self._pass
            if now is None:
                return call(hidden)
            if i < now.start:
                return self.outputs.layer(i, hidden)
            hidden = self._run_layer(now, i, hidden, call)
            if i == self.last_layer:
                raise Reached(hidden)
            return self.outputs.layer(i, hidden)

        return forward

    def _run_layer(
        self, now: Pass, i: int, hidden: Tensor, call: Callable[[Tensor], Any]
    ) -> Tensor:
        heads = given = None
        if i == now.start and now.entering is not None:
            hidden, heads = now.entering.hidden, now.entering.heads
            if i > now.cut:
                hidden = at_positions(hidden, now.scored)
        if i in now.keep:
            now.kept[i] = State(hidden[now.keep[i]])
        site = self._site_of.get(i)
        if i > now.cut:
            assert site is not None
            given = now.reference_of(i, scored=True)
            if given is None:
                given = hidden.new_zeros(1, 1, site.num_heads * site.head_dim)
            given = given.to(hidden)
        elif i == now.cut and self.inside and site is not None:
            if heads is None:
                heads = self._heads(now, i, hidden, call)
            hidden = at_positions(hidden, now.scored)
            rows = now.scored // heads.shape[1]
            gates = now.gates[rows, i, : site.num_heads]
            reference = now.reference_of(i, scored=True)
            given = scale_heads(at_positions(heads, now.scored), gates, site, reference)
        elif heads is not None:
            given = heads

        def run(hidden: Tensor, given: Tensor | None) -> Tensor:
            self._pass, before = now, self._pass  # a backward pass may come here again
            try:
                now.given = given
                return first_output(call(hidden))
            finally:
                self._pass = before

        if self.recompute == "layer" and torch.is_grad_enabled():
            hidden = checkpoint(run, hidden, given, use_reentrant=False)
        else:
            hidden = run(hidden, given)
        if i == now.cut and (site is None or not self.inside):
            hidden = at_positions(hidden, now.scored)
        return hidden

    def _heads(self, now: Pass, i: int, hidden: Tensor, call: Callable[[Tensor], Any]) -> Tensor:
        """The input of a layer's projection; its layer is left there."""
        now.stop_at = i
        try:
            call(hidden)
        except Reached as reached:
            return reached.value
        finally:
            now.stop_at = None
        raise AssertionError("the projection was not run")

    def _mlps(self) -> set[nn.Module]:
        """The largest part of each layer that holds no attention of it.

        Raises:
            ConfigError: a layer has no such part.
        """
        found = set()
        for site in self.sites:
            parts = [
                part
                for part in self.sites.layers[site.layer].children()
                if all(module is not site.attention for module in part.modules())
            ]
            sizes = {part: sum(p.numel() for p in part.parameters()) for part in parts}
            largest = max(parts, key=lambda part: sizes[part], default=None)
            if largest is None or sizes[largest] * 2 < sum(sizes.values()):
                raise ConfigError(
                    f"the layers of {type(self.model).__name__} hold no MLP of their own; use "
                    "--recompute layer"
                )
            found.add(largest)
        return found

    def _recomputed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._pass is None or not torch.is_grad_enabled():
                return original(*args, **kwargs)
            return checkpoint(original, *args, use_reentrant=False, **kwargs)

        return forward

    def _attention(self, site: HeadSite, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            now = self._pass
            if now is None or now.given is None:
                return original(*args, **kwargs)
            given, now.given = now.given, None
            return self.outputs.attention(site.layer, site.projection(given))

        return forward

    def _projection(self, site: HeadSite) -> Callable[..., Any]:
        def scale(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            now = self._pass
            i = site.layer
            if now is None or i > now.cut or (i == now.cut and self.inside and now.stop_at != i):
                return None  # nothing to scale, or scaled already
            if self.inside and i in now.keep:
                now.kept[i].heads = args[0][now.keep[i]]
            if now.stop_at == i:
                raise Reached(args[0])
            gates, reference = now.gates[:, i, : site.num_heads], now.reference_of(i)
            return scale_heads(args[0], gates, site, reference), *args[1:]

        return scale
