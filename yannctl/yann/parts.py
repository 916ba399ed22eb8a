"""What every compiled law is made of: its arrays as buffers, the rule that picks a region, the affine map of a region.

The rule is the one of `PwaLaw.__call__`, in elementwise operations column by column, so float64 results are the
same to the last bit: violation of a row `((H0*t0 + H1*t1) + ...) - k`, of a region the largest of its rows, and the
region with the smallest one is taken, the lowest index on a tie.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from yannctl.errors import ModelError
from yannctl.pwa import PwaLaw

# Elements of the (samples, slots, regions) work array handled at once: 1 MiB of float64 stays in the cache.
CHUNK_ELEMENTS = 1 << 17


class LawReference:
    """The law a module was compiled from; copies of the module share it, because a law never changes.

    Args:
        law: the explicit law.
    """

    def __init__(self, law: PwaLaw) -> None:
        self.law = law

    def __deepcopy__(self, memo: dict) -> "LawReference":
        return self


class PiecewiseAffine(nn.Module):
    """The arrays of a piecewise affine law as buffers, and the choice of the region.

    Args:
        row_start: (n_regions + 1,) first row of each region in `H`.
        H: (q, ntheta) facet normals, unit length in scaled parameters.
        k: (q,) facet offsets.
        F: (n_regions, n_out, ntheta) gains.
        g: (n_regions, n_out) offsets.
        dtype: floating type of the buffers.
    """

    row_start: torch.Tensor
    H: torch.Tensor
    k: torch.Tensor
    F: torch.Tensor
    g: torch.Tensor
    slot_rows: torch.Tensor
    slot_normals: torch.Tensor
    slot_offsets: torch.Tensor

    def __init__(
        self,
        row_start: np.ndarray,
        H: np.ndarray,
        k: np.ndarray,
        F: np.ndarray,
        g: np.ndarray,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.register_buffer("row_start", torch.as_tensor(np.array(row_start, dtype=np.int64)))
        for name, array in {"H": H, "k": k, "F": F, "g": g}.items():
            self.register_buffer(name, torch.as_tensor(np.array(array, dtype=float)).to(dtype))
        # Slot s of region i is its s-th row, or its first row again once it has no more: the maximum stays the same.
        # A region without rows gets row q, `0 <= inf`, which `refresh` appends.
        count = np.diff(row_start)
        slots = np.arange(max(int(count.max()), 1))[:, None]
        first = np.where(count > 0, row_start[:-1], H.shape[0])
        rows = np.where(slots < count, row_start[:-1] + slots, first)
        self.n_slots, self.n_regions = rows.shape
        self.ntheta = int(H.shape[1])
        self.register_buffer("slot_rows", torch.as_tensor(rows.reshape(-1)), persistent=False)
        self.register_buffer("slot_normals", torch.empty(0, dtype=dtype), persistent=False)
        self.register_buffer("slot_offsets", torch.empty(0, dtype=dtype), persistent=False)
        self.refresh()
        self.register_load_state_dict_post_hook(_refresh_after_load)

    def refresh(self) -> None:
        """Copy the rows into slot order, one contiguous array a column."""
        normals = torch.cat([self.H, self.H.new_zeros(1, self.ntheta)])
        self.slot_normals = normals[self.slot_rows].T.contiguous()
        self.slot_offsets = torch.cat([self.k, self.k.new_full((1,), torch.inf)])[self.slot_rows]

    @torch.no_grad()
    def locate(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find the region of each parameter.

        `i = argmin_i max_j ((H_i theta - k_i)_j)`, the lowest index on a tie.

        Args:
            theta: (batch, ntheta) parameters.

        Returns:
            (batch,) region, and (batch,) its largest violation [scaled distance; negative inside].
        """
        step = max(1, CHUNK_ELEMENTS // (self.n_slots * self.n_regions))
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or theta.shape[0] <= step:
            return self._least(column_sum(self.slot_normals, theta.T.unsqueeze(-1)) - self.slot_offsets)
        # Two work arrays for all parts: giving megabytes back to the system after each costs more than the arithmetic.
        total, product = theta.new_empty(2, step, self.slot_offsets.shape[0])
        parts = [self._locate_into(part, total[: len(part)], product[: len(part)]) for part in theta.split(step)]
        return torch.cat([index for index, _ in parts]), torch.cat([violation for _, violation in parts])

    def _locate_into(
        self, theta: torch.Tensor, total: torch.Tensor, product: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Locate with given (batch, slots * regions) work arrays: the same operations in the same order."""
        torch.mul(self.slot_normals[0], theta[:, :1], out=total)
        for column in range(1, self.ntheta):
            torch.mul(self.slot_normals[column], theta[:, column : column + 1], out=product)
            total.add_(product)
        return self._least(total.sub_(self.slot_offsets))

    def _least(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pick the region whose largest row is least."""
        worst = rows.unflatten(1, (self.n_slots, self.n_regions)).amax(1)
        index = worst.argmin(1)
        return index, worst.gather(1, index[:, None])[:, 0]


def _refresh_after_load(module: nn.Module, _: object) -> None:
    """Follow a loaded state; the module comes as an argument, so copies refresh themselves and not their original."""
    if isinstance(module, PiecewiseAffine):
        module.refresh()


def blank_linear(size_in: int, size_out: int, bias: bool, dtype: torch.dtype) -> nn.Linear:
    """Make a linear layer without drawing from the global stream of random numbers; its weights are not set.

    Args:
        size_in: inputs.
        size_out: outputs.
        bias: whether it has one.
        dtype: floating type.

    Returns:
        The layer.
    """
    return nn.Linear(size_in, size_out, bias=bias, dtype=dtype, device="meta").to_empty(device="cpu")


def column_sum(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Add the products of two stacks of columns in their order, `(l_0*r_0 + l_1*r_1) + ...`, never fused.

    Args:
        left: (columns, ...) factors.
        right: (columns, ...) factors, broadcast against `left[i]`.

    Returns:
        (...) sum.
    """
    total = left[0] * right[0]
    for column in range(1, left.shape[0]):
        total = total + left[column] * right[column]
    return total


def affine(F: torch.Tensor, g: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Evaluate `F theta + g` for one gain a sample, in column order.

    Args:
        F: (batch, n_out, ntheta) gains.
        g: (batch, n_out) offsets.
        theta: (batch, ntheta) parameters.

    Returns:
        (batch, n_out) values.
    """
    return column_sum(F.permute(2, 0, 1), theta.T.unsqueeze(-1)) + g


def flatten_batch(x: torch.Tensor, width: int, dtype: torch.dtype, field: str = "x") -> torch.Tensor:
    """Reshape (..., width) to (batch, width) in the module's type.

    Args:
        x: (..., width) values.
        width: expected last dimension.
        dtype: floating type of the module.
        field: name of the argument in the message.

    Returns:
        (batch, width) values.

    Raises:
        ModelError: if the last dimension is not `width`.
    """
    if not torch.jit.is_tracing() and (x.ndim == 0 or x.shape[-1] != width):
        raise ModelError(field, f"got shape {tuple(x.shape)}, expected (..., {width})")
    return x.reshape(-1, width).to(dtype)


def law_scale(law: PwaLaw) -> float:
    """Largest `|F_i| |theta| + |g_i|` over the vertices of each region: what rounding is measured against.

    Args:
        law: the explicit law.

    Returns:
        Scale [input unit], at least the smallest normal number.
    """
    largest = np.finfo(float).tiny
    for index in range(law.n_regions):
        vertices = np.abs(np.asarray(law.vertices(index), dtype=float))
        if vertices.size:
            largest = max(largest, float(np.max(vertices @ np.abs(law.F[index]).T + np.abs(law.g[index]))))
    return largest


def check_law(law: PwaLaw | Any) -> None:
    """Refuse a law without regions, and whatever is not a law.

    Args:
        law: the explicit law.

    Raises:
        ModelError: if there is nothing to compile.
    """
    if not isinstance(law, PwaLaw):
        text = f"expected a PwaLaw, got {type(law).__name__}"
        raise ModelError("law", text, remedy="solve the problem with solve_mpqp first")
    if law.n_regions == 0:
        raise ModelError("law", f"has no region ({law.status}: {law.message})", remedy="solve a feasible problem first")
