"""The published five-layer Y-wise affine network, with a row tolerance and an M computed for each law.

Source: Braniff and Tian, arXiv:2505.07054 and arXiv:2508.16474. Three things differ from the published code, which
leaves points on facets in no region, is wrong where |F_i x + g_i| > 500 and rounds every law to the last place of M:
rows hold up to a stated tolerance, M bounds every law over the whole parameter box, and it multiplies `o - 1`, which is
0 for the chosen law, instead of being added with `o` and taken off by the bias.
"""

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

from .parts import LawReference, blank_linear, check_law, column_sum, flatten_batch, law_scale

# Of a row's size `|H| |x| + |k|`: wide enough for what the facets of neighbours differ by, narrow enough that taking a
# neighbour next to a steep facet stays within 1e-9 of the input's range.
ROW_TOLERANCE = 1e-12
LEAST_TOLERANCE = 1e-14
CORNER = 1e-10  # corners of a region lie on its facets up to this [scaled distance]
M_MARGIN = 1.01
MAX_WEIGHTS = 200_000_000


class OrderedLinear(nn.Linear):
    """A linear layer that adds its last columns in their order, then the bias: `((w_0 x_0 + w_1 x_1) + ...) + b`.

    A matrix product adds in whatever order is fastest, which differs between libraries and batch sizes. The columns
    before hold at most one number other than 0 that meets an input other than 0, so there no order matters.

    Args:
        size_in: inputs.
        size_out: outputs.
        n_ordered: how many columns at the end.
        dtype: floating type.
    """

    def __init__(self, size_in: int, size_out: int, n_ordered: int, dtype: torch.dtype) -> None:
        super().__init__(size_in, size_out, dtype=dtype, device="meta")
        self.to_empty(device="cpu")  # as it draws no random numbers
        self.n_before = size_in - n_ordered

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Evaluate the layer.

        Args:
            input: (batch, size_in) inputs.

        Returns:
            (batch, size_out) outputs.
        """
        ordered = self.weight[:, self.n_before :]
        total = column_sum(ordered.T, input[:, self.n_before :].T.unsqueeze(-1)) + self.bias
        if self.n_before:
            total = total + nn.functional.linear(input[:, : self.n_before], self.weight[:, : self.n_before])
        return total


def _filled(layer: nn.Linear, weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Linear:
    """Give a layer its numbers, and freeze it."""
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))
    return layer.requires_grad_(False)


class FiveLayers(nn.Module):
    """The weights of the five layers, for p regions, q rows, n parameters and m outputs.

    Args:
        law: the explicit law.
        M: what switches a law off.
        row_tolerance: (q,) how far outside each row still counts as inside.
        dtype: floating type of the weights.
    """

    def __init__(self, law: PwaLaw, M: float, row_tolerance: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        p, m, n = law.F.shape
        q = law.H.shape[0]
        self.step = _filled(OrderedLinear(n, q, n, dtype), -law.H, law.k + row_tolerance)
        member = np.repeat(np.arange(p), np.diff(law.row_start)) == np.arange(p)[:, None]
        self.indicator = _filled(blank_linear(q, p, True, dtype), member.astype(float), 1.0 - np.diff(law.row_start))
        self.first_match = _filled(blank_linear(p, p, False, dtype), np.eye(p) - np.tril(np.ones((p, p)), -1))
        # Rows of the suppressed layer: output j of region i, positive then negative part.
        gains = np.stack([law.F, -law.F], axis=2).reshape(2 * m * p, n)
        offsets = np.stack([law.g, -law.g], axis=2).reshape(2 * m * p)
        choose = np.repeat(M * np.eye(p), 2 * m, axis=0)
        suppressed = OrderedLinear(p + n, 2 * m * p, n, dtype)
        self.suppressed = _filled(suppressed, np.hstack([choose, gains]), offsets)
        self.output = _filled(
            blank_linear(2 * m * p, m, False, dtype), np.tile(np.kron(np.eye(m), [1.0, -1.0]), (1, p))
        )


class FiveLayerActor(nn.Module):
    """The published network, for p regions, q rows, n parameters and m outputs.

    | layer | width | rule |
    | --- | --- | --- |
    | `step` | q | `s = 1 if k - H x + tolerance >= 0 else 0` |
    | `indicator` | p | `d_i = relu(sum of s over the rows of i + 1 - q_i)` |
    | `first_match` | p | `o_i = relu(d_i - sum_{l<i} d_l)`: the lowest index wins |
    | `suppressed` | 2mp | `relu(+-(F_i x + g_i) + M (o_i - 1))` |
    | `output` | m | sum of the positive less the negative parts |

    A chosen law passes unrounded: in float64 the result has the bits of `law(x)` wherever both choose the same region.
    Outside all regions it is 0, as published; outside the parameter box M no longer bounds the laws and nothing is
    promised.

    Args:
        law: the explicit law.
        dtype: floating type of the weights and of the result.

    Raises:
        ModelError: if the dense layers would need more than 2e8 weights.
    """

    def __init__(self, law: PwaLaw, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        check_law(law)
        p, m, n = law.F.shape
        q = law.H.shape[0]
        size = q * (n + 1) + p * (q + 1) + p * p + 2 * m * p * (p + n + 1) + 2 * m * m * p
        if size > MAX_WEIGHTS:
            raise ModelError("form", f"five_layer needs {size} weights for {p} regions", remedy='use form="gather"')
        self.source = LawReference(law)
        self.ntheta = n
        self.M = self._bound(law)
        self.row_tolerance = self._row_tolerance(law, dtype)
        self.law = FiveLayers(law, self.M, self.row_tolerance, dtype)

    @staticmethod
    def _bound(law: PwaLaw) -> float:
        """Bound every law over the box: `1.01 max_i max_{x in Theta} |F_i x + g_i|`, reached at a corner."""
        centre = (law.theta_max + law.theta_min) / 2
        half = (law.theta_max - law.theta_min) / 2
        largest = np.abs(law.F @ centre + law.g) + np.abs(law.F) @ half
        return M_MARGIN * float(max(largest.max(), np.finfo(float).tiny))

    @staticmethod
    def _row_tolerance(law: PwaLaw, dtype: torch.dtype) -> np.ndarray:
        """Take for each row what its rounding needs where it can decide: on its facet, so at most at a corner.

        `max over corners v of (n + 1) u |H| |v| + u |k| + 1e-12 (|H| |v| + |k|) - (k - H v)`, u half an eps, is enough
        for all of the region, as the sum is convex: a row far from where |v| is large may be narrow, and then a
        neighbour that is taken next to a steep facet differs by little.
        """
        unit = 1.001 * torch.finfo(dtype).eps / 2
        tolerance = np.full(len(law.k), LEAST_TOLERANCE)
        reach = np.maximum(np.abs(law.theta_min), np.abs(law.theta_max))
        for i in range(law.n_regions):
            rows = slice(law.row_start[i], law.row_start[i + 1])
            H, k = law.H[rows], law.k[rows]
            corners = np.asarray(law.vertices(i), dtype=float)
            slack = np.maximum(k - corners @ H.T - CORNER, 0.0) if len(corners) else 0.0
            size = np.abs(corners if len(corners) else reach[None]) @ np.abs(H).T
            need = ((law.ntheta + 1) * unit + ROW_TOLERANCE) * size + (unit + ROW_TOLERANCE) * np.abs(k) - slack
            tolerance[rows] += np.maximum(need.max(axis=0), 0.0)
        return tolerance

    @property
    def step(self) -> nn.Linear:
        """Layer 1: weight `-H`, bias `k + tolerance`."""
        return self.law.step

    @property
    def indicator(self) -> nn.Linear:
        """Layer 2: ones over the rows of each region, bias `1 - q_i`."""
        return self.law.indicator

    @property
    def first_match(self) -> nn.Linear:
        """Layer 3: unit lower triangle with -1 below the diagonal."""
        return self.law.first_match

    @property
    def suppressed(self) -> nn.Linear:
        """Layer 4: `[M choose, +-F]` for `[o - 1, x]`, bias `+-g`."""
        return self.law.suppressed

    @property
    def output(self) -> nn.Linear:
        """Layer 5: +1 and -1."""
        return self.law.output

    @property
    def n_weights(self) -> int:
        """Weights of the dense layers: `q(n+1) + p(q+1) + p^2 + 2mp(p+n+1) + 2m^2 p`."""
        return sum(int(weight.numel()) for weight in self.law.parameters())

    def tolerance(self) -> float:
        """Error that rounding and the row tolerance explain [input unit]."""
        law, eps = self.source.law, torch.finfo(self.step.weight.dtype).eps
        half = (law.theta_max - law.theta_min) / 2
        # The laws of neighbours differ by a multiple of the row between them, which holds up to its tolerance.
        neighbour = (self.ntheta + 1) * eps + 2 * ROW_TOLERANCE
        steepest = float(np.max(np.abs(law.F) @ half, initial=0.0))
        return (2 * (self.ntheta + 2) * eps + neighbour) * law_scale(law) + 2 * LEAST_TOLERANCE * steepest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the network.

        Args:
            x: (..., ntheta) parameters [physical units].

        Returns:
            (..., n_out) inputs [physical units], 0 outside all regions.
        """
        theta = flatten_batch(x, self.ntheta, self.step.weight.dtype)
        held = (self.step(theta) >= 0).to(theta.dtype)
        inside = torch.relu(self.indicator(held))
        chosen = torch.relu(self.first_match(inside))
        parts = torch.relu(self.suppressed(torch.cat([chosen - 1, theta], dim=-1)))
        return self.output(parts).reshape(*x.shape[:-1], self.output.out_features)
