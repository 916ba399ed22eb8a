"""A continuous law as the maximum of minima of its distinct affine laws: few weights, continuous for all of them.

Source: Tarela and Martinez (1999), Wen, Ma and Ydstie (2009), with the sets J_i taken over vertices and the
representation certified piece by piece, so a partition where the textbook condition fails is split or refused.
"""

from functools import reduce

import numpy as np
import torch
from torch import nn

from yannctl.pwa import PwaLaw

from .compiled import CompiledLattice
from .lattice_terms import Lattice, lattice_terms
from .parts import LawReference, check_law, column_sum, flatten_batch, law_scale

PICKED = 1 << 24  # members of terms picked at once: 128 MiB of float64
MAX_UNROLLED = 2048  # entries of the terms above which unrolling makes a compiler slow


class LatticeLaws(nn.Module):
    """The distinct laws and terms of one lattice.

    Args:
        F: (laws, ntheta) gains.
        g: (laws,) offsets.
        terms: index sets; the output is the maximum over them of the minimum over their laws.
        dtype: floating type of the weights.
    """

    terms: torch.Tensor

    def __init__(self, F: np.ndarray, g: np.ndarray, terms: list[np.ndarray], dtype: torch.dtype) -> None:
        super().__init__()
        self.F = nn.Parameter(torch.as_tensor(F).to(dtype), requires_grad=False)
        self.g = nn.Parameter(torch.as_tensor(g).to(dtype), requires_grad=False)
        longest = max(len(term) for term in terms)
        padded = np.stack([np.pad(term, (0, longest - len(term)), mode="edge") for term in terms])
        self.register_buffer("terms", torch.as_tensor(padded))
        self.refresh()
        self.register_load_state_dict_post_hook(_refresh_after_load)

    def refresh(self) -> None:
        """Read the members of each term off `terms`, whose rows are padded, and its size, which no trace records."""
        self.members = [sorted(set(row)) for row in self.terms.tolist()]
        self.entries = self.terms.numel()

    def forward(self, theta: torch.Tensor) -> torch.Tensor:
        """Evaluate `max_t min_{j in t} (F_j theta + g_j)`.

        Args:
            theta: (batch, ntheta) parameters.

        Returns:
            (batch,) output.
        """
        if torch.compiler.is_compiling() and self.entries <= MAX_UNROLLED:
            return self._unrolled(theta)
        step = max(1, PICKED // self.entries)
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or len(theta) <= step:
            return self._picked(theta)
        return torch.cat([self._picked(part) for part in theta.split(step)])

    def _picked(self, theta: torch.Tensor) -> torch.Tensor:
        """Evaluate all laws, then pick the members of each term."""
        values = column_sum(self.F.T, theta.T.unsqueeze(-1)) + self.g  # (batch, laws)
        n_terms, longest = self.terms.shape
        picked = values[:, self.terms.reshape(-1)].unflatten(1, (n_terms, longest))
        return picked.amin(2).amax(1)

    def _unrolled(self, theta: torch.Tensor) -> torch.Tensor:
        """Evaluate law by law: only elementwise operations, which a compiler fuses into one pass over the points."""
        columns = theta.unbind(1)
        values = []
        for law in range(self.F.shape[0]):
            total = self.F[law, 0] * columns[0]
            for j in range(1, len(columns)):
                total = total + self.F[law, j] * columns[j]
            values.append(total + self.g[law])
        lows = [reduce(torch.minimum, [values[law] for law in term]) for term in self.members]
        return reduce(torch.maximum, lows)


def _refresh_after_load(module: nn.Module, _: object) -> None:
    """Follow loaded terms."""
    if isinstance(module, LatticeLaws):
        module.refresh()


class LatticeActor(nn.Module):
    """The law as `u_c = max_t min_{j in t} l_j(x)`, one lattice an output.

    The weights are parameters that do not require gradients; `actor.law.requires_grad_(True)` trains them, and
    the output stays continuous. Outside the feasible set it extrapolates the lattice, not the nearest region.

    Args:
        law: the explicit law, continuous.
        dtype: floating type of the weights and of the result.
        lattices: the lattice of each output where it is known, None to find it.

    Raises:
        ModelError: if the law jumps between neighbours, or no lattice was found that equals it.
    """

    def __init__(self, law: PwaLaw, dtype: torch.dtype = torch.float64, lattices: list[Lattice] | None = None) -> None:
        super().__init__()
        check_law(law)
        self.source = LawReference(law)
        self.ntheta = int(law.F.shape[2])
        lattices = lattice_terms(law) if lattices is None else lattices
        self.law = nn.ModuleList(LatticeLaws(lattice.F, lattice.g, lattice.terms, dtype) for lattice in lattices)
        self.certified = all(lattice.certified for lattice in lattices)
        self.merging = max(lattice.merging for lattice in lattices)

    @property
    def outputs(self) -> list[LatticeLaws]:
        """The lattice of each output."""
        return [part for part in self.law if isinstance(part, LatticeLaws)]

    @property
    def n_weights(self) -> int:
        """Numbers of the distinct laws, `sum over outputs of laws (n + 1)`; the terms are indices."""
        return sum(int(part.F.numel() + part.g.numel()) for part in self.outputs)

    @property
    def n_terms(self) -> int:
        """Terms of the maximum, over all outputs."""
        return sum(int(part.terms.shape[0]) for part in self.outputs)

    def compiled(self, threads: int | None = None) -> CompiledLattice:
        """Compile the present weights into loops over numpy arrays: the same bits, the fastest form on a processor.

        Args:
            threads: threads of a large batch, None for one a core.

        Returns:
            Callable `(..., ntheta) -> (..., n_out)`.
        """
        return CompiledLattice(self, threads)

    def tolerance(self) -> float:
        """Error that rounding and the merging of equal laws explain [input unit]."""
        eps = torch.finfo(self.outputs[0].F.dtype).eps
        return 2 * (self.ntheta + 2) * eps * law_scale(self.source.law) + self.merging

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate the lattice.

        Args:
            x: (..., ntheta) parameters [physical units].

        Returns:
            (..., n_out) inputs [physical units].
        """
        theta = flatten_batch(x, self.ntheta, next(self.parameters()).dtype)
        return torch.stack([part(theta) for part in self.law], dim=-1).reshape(*x.shape[:-1], len(self.law))
