"""A stock model run from inside one of its layers on, and only where something is scored.

The model's own forward pass runs; nothing of it is written down here. While a `PartialForward` is
entered, the model's layers, attentions and output projections are wrapped:

1. Layers below the start hand on their input. The start layer is given the residual stream
   kept from an earlier pass, and its attention returns the projection of the heads kept from there.
2. From the start on, each row's heads, and MLPs that have gates, are multiplied by that row's
   gates, as `gating.hooks` does.
3. At the last layer in which any gate is open, its attention is run up to the projection, and then
   the layer again with the scored positions alone, its attention returning their projected heads.
   Above, attentions return the projection of nothing, or of the reference that fills up closed
   gates. Each position is then a row of its own.
4. The output of the last layer goes through the rest of the model in pieces (`head`).

A model's capabilities are found out once, by comparing with plain passes (`capabilities.py`): all
of this (`inside`); a start at the beginning of a layer (`layers`), where an attention does more
after its projection; or neither (`whole`), where layers pass each other more than the residual
stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from chg.config import Recompute
from chg.engine.activations import cheaper_activations
from chg.engine.patch import Patch
from chg.engine.recompute import find_mlps
from chg.engine.state import (
    Outputs,
    PassOrder,
    Reached,
    RunningPass,
    State,
    at_positions,
)
from chg.gating import scale_heads, scale_mlp
from chg.models import HeadSite, HeadSites, MlpSite, first_output


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
        self._pass: RunningPass | None = None
        self._final_hidden: Tensor | None = None
        self._gates_mlps = False
        self._handles: list[RemovableHandle] = []
        self._patches: list[Patch] = []

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
                self._patches.append(Patch(layer, self._layer(i, layer.forward)))
            for module, forward in cheaper_activations(
                self.model, recompute=self.recompute == "none"
            ):
                self._patches.append(Patch(module, forward))
            if self.recompute == "mlp":
                for mlp in find_mlps(self.model, self.sites):
                    self._patches.append(Patch(mlp, self._recomputed(mlp.forward)))
            for site in self.sites:
                if self.inside:
                    attention = self._attention(site, site.attention.forward)
                    self._patches.append(Patch(site.attention, attention))
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
        for patch in reversed(self._patches):
            patch.undo()
        self._handles.clear()
        self._patches.clear()
        self._gates_mlps = False

    def run(self, order: PassOrder) -> tuple[Float[Tensor, "scored 1 *width"], dict[int, State]]:
        """Run rows, each under its own gates.

        Returns:
            The residual stream that leaves the last layer at the scored positions, and the states
            asked for.
        """
        if order.gates.shape[-1] > self.sites.shape[1] and not self._gates_mlps:
            self._gate_mlps()
        running = RunningPass(order, self.last_layer if order.cut is None else order.cut)
        self._pass = running
        try:
            self.model(**order.inputs, use_cache=False)
        except Reached as reached:
            return reached.value, running.kept
        finally:
            self._pass = None
        raise AssertionError("the last layer was not run")

    def head(self, final_hidden: Float[Tensor, "scored 1 *width"]) -> Float[Tensor, "scored vocab"]:
        """Run the rest of the model on the output of its last layer, to logits."""
        ids = torch.zeros(final_hidden.shape[:2], dtype=torch.long, device=final_hidden.device)
        self._final_hidden = final_hidden
        try:
            logits = self.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False
            ).logits
        finally:
            self._final_hidden = None
        flat: Tensor = logits.flatten(0, 1)
        return flat

    def _layer(self, i: int, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            def call(value: Tensor) -> Any:
                if args:
                    return original(value, *args[1:], **kwargs)
                return original(**{**kwargs, "hidden_states": value})

            hidden = args[0] if args else kwargs["hidden_states"]
            if self._final_hidden is not None:
                last = self._final_hidden if i == self.last_layer else hidden
                return self.outputs.layer(i, last)
            running = self._pass
            if running is None:
                return call(hidden)
            if i < running.order.start:
                return self.outputs.layer(i, hidden)
            hidden = self._run_layer(running, i, hidden, call)
            if i == self.last_layer:
                raise Reached(hidden)
            return self.outputs.layer(i, hidden)

        return forward

    def _run_layer(
        self, running: RunningPass, i: int, hidden: Tensor, call: Callable[[Tensor], Any]
    ) -> Tensor:
        """Run one layer of a pass, from its start and up to its cut."""
        order, heads = running.order, None
        if i == order.start and order.entering is not None:
            hidden, heads = order.entering.hidden, order.entering.heads
            if i > running.cut:
                hidden = at_positions(hidden, order.scored)
        if i in order.keep:
            running.kept[i] = State(hidden[order.keep[i]])
        cuts_here = i == running.cut
        splits_attention = cuts_here and self._splits_attention(i)
        if splits_attention and heads is None:
            heads = self._heads(running, i, hidden, call)
        given = self._given_heads(running, i, hidden, heads)
        if splits_attention:
            hidden = at_positions(hidden, order.scored)

        def run(hidden: Tensor, given: Tensor | None) -> Tensor:
            with self._going_on(running):
                running.given = given
                return first_output(call(hidden))

        if self.recompute == "layer" and torch.is_grad_enabled():
            hidden = checkpoint(run, hidden, given, use_reentrant=False)
        else:
            hidden = run(hidden, given)
        return at_positions(hidden, order.scored) if cuts_here and not splits_attention else hidden

    @contextmanager
    def _going_on(self, running: RunningPass) -> Iterator[None]:
        """Put a pass under way, also when a backward pass comes to a part of it again."""
        self._pass, before = running, self._pass
        try:
            yield
        finally:
            self._pass = before

    def _splits_attention(self, i: int) -> bool:
        """Tell layers whose attention can end with all positions, and the rest begin with some."""
        return self.inside and i in self._site_of

    def _given_heads(
        self, running: RunningPass, i: int, hidden: Tensor, heads: Tensor | None
    ) -> Tensor | None:
        """Heads that a layer's attention projects in place of its own; None for its own."""
        order, site = running.order, self._site_of.get(i)
        if i > running.cut:
            assert site is not None
            given = running.reference_of(i, scored=True)
            if given is None:
                given = hidden.new_zeros(1, 1, site.num_heads * site.head_dim)
            return given.to(hidden)
        if i == running.cut and self._splits_attention(i):
            assert site is not None
            assert heads is not None
            rows = order.scored // heads.shape[1]
            gates = order.gates[rows, i, : site.num_heads]
            reference = running.reference_of(i, scored=True)
            return scale_heads(at_positions(heads, order.scored), gates, site, reference)
        return heads

    def _heads(
        self, running: RunningPass, i: int, hidden: Tensor, call: Callable[[Tensor], Any]
    ) -> Tensor:
        """Run a layer up to its projection, and return the input of that."""
        running.stop_at = i
        try:
            call(hidden)
        except Reached as reached:
            return reached.value
        finally:
            running.stop_at = None
        raise AssertionError("the projection was not run")

    def _recomputed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            running = self._pass
            if running is None or not torch.is_grad_enabled():
                return original(*args, **kwargs)

            def run(*args: Any, **kwargs: Any) -> Any:
                with self._going_on(running):
                    return original(*args, **kwargs)

            return checkpoint(run, *args, use_reentrant=False, **kwargs)

        return forward

    def _attention(self, site: HeadSite, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            running = self._pass
            if running is None or running.given is None:
                return original(*args, **kwargs)
            given, running.given = running.given, None
            return self.outputs.attention(site.layer, site.projection(given))

        return forward

    def _projection(self, site: HeadSite) -> Callable[..., Any]:
        i = site.layer

        def scale(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            running = self._pass
            if running is None or i > running.cut:
                return None
            stops_here, scaled_before = running.stop_at == i, i == running.cut and self.inside
            if scaled_before and not stops_here:
                return None
            order = running.order
            if self.inside and i in order.keep:
                running.kept[i].heads = args[0][order.keep[i]]
            if stops_here:
                raise Reached(args[0])
            gates, reference = order.gates[:, i, : site.num_heads], running.reference_of(i)
            return scale_heads(args[0], gates, site, reference), *args[1:]

        return scale

    def _gate_mlps(self) -> None:
        """Let passes gate MLPs from now on; those of heads alone do without these hooks."""
        self._gates_mlps = True
        for site in self.sites.mlps:
            handle = site.module.register_forward_hook(self._mlp(site), prepend=True)
            self._handles.append(handle)

    def _mlp(self, site: MlpSite) -> Callable[..., Any]:
        i, heads = site.layer, self.sites.shape[1]

        def scale(_module: nn.Module, _args: Any, output: Any) -> Any:
            running = self._pass
            if running is None or running.order.gates.shape[-1] == heads or running.stop_at == i:
                return None
            order = running.order
            gates = order.gates[:, i, -1]
            scored = i > running.cut or (i == running.cut and self._splits_attention(i))
            if scored:
                gates = gates[order.scored // order.length]
            return scale_mlp(output, gates, running.reference_of(site.key, scored=scored))

        return scale
