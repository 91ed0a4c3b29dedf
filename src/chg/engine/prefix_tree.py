"""Gate matrices as a tree, so that the beginnings that two of them share are computed once.

Gate matrices that agree in layers `0..l-1` have the same residual stream entering layer `l`, and
the same heads before its output projection. So a matrix is only computed from the layer on in which
it leaves another one's path: for the individual ablations of a model with `H` heads per layer,
`1 + H (l + 1)` states are computed at layer `l`, and no more for sequential ones, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(eq=False)
class Node:
    """A gate matrix, with those that follow its path for some layers."""

    matrix: int
    """Place of the matrix in the list."""
    start: int
    """First layer in which it differs from the node it branches off; 0 for the root."""
    children: list[Node] = field(default_factory=list)

    @property
    def forks(self) -> set[int]:
        """Layers in which others leave its path."""
        return {child.start for child in self.children}


def build_tree(matrices: Sequence[Float[Tensor, "layer head"]]) -> Node:
    """Arrange gate matrices, no two of them equal, as branches of the first."""
    keys = [row_keys(matrix) for matrix in matrices]
    root = Node(0, 0)
    growing = [(root, list(range(1, len(keys))), 0)]
    while growing:
        node, followers, layer = growing.pop()
        while followers:
            path = keys[node.matrix][layer]
            leaving: dict[bytes, list[int]] = {}
            for other in followers:
                leaving.setdefault(keys[other][layer], []).append(other)
            followers = leaving.pop(path, [])
            for first, *rest in leaving.values():
                child = Node(first, layer)
                node.children.append(child)
                growing.append((child, rest, layer + 1))
            layer += 1
    return root


def row_keys(matrix: Float[Tensor, "layer head"]) -> list[bytes]:
    """Return the bits of each layer's gates, equal where the gates are."""
    return [row.tobytes() for row in matrix.detach().cpu().contiguous().numpy()]
