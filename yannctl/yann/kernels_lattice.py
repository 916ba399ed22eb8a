"""The lattice as compiled loops: a block of points at a time, so that every inner loop is one vector instruction.

Same operations in the same order as the torch module, `(F_0 x_0 + F_1 x_1) + ... + g`, then minima and a maximum, which
do not round: the results are the same bits. Nothing is fused or reordered (see `pwa.compilation`).
"""

import typing

from yannctl.pwa.compilation import inner, kernel


@inner
@typing.no_type_check
def evaluate_laws(x, start, count, first, last, F, g, columns, values):
    """Write laws first .. last - 1 at `count` points from row `start` of x to `values`, one law a row."""
    for j in range(x.shape[1]):
        for b in range(count):
            columns[j, b] = x[start + b, j]
    for law in range(first, last):
        row = law - first
        for b in range(count):
            values[row, b] = F[law, 0] * columns[0, b]
        for j in range(1, x.shape[1]):
            for b in range(count):
                values[row, b] += F[law, j] * columns[j, b]
        for b in range(count):
            values[row, b] += g[law]


@inner
@typing.no_type_check
def least_of_term(members, begin, end, count, values, low):
    """Write the minimum over the laws of one term to `low`."""
    for b in range(count):
        low[b] = values[members[begin], b]
    for position in range(begin + 1, end):
        law = members[position]
        for b in range(count):
            low[b] = values[law, b] if values[law, b] < low[b] else low[b]


@kernel
@typing.no_type_check
def lattice_many(x, F, g, law_start, members, term_start, output_terms, columns, values, work, out):
    """Write `max_t min_{j in t} (F_j x + g_j)` of each output at each row of x (n, ntheta) to out (n, n_out).

    Output o has laws law_start[o] .. and terms output_terms[o] ..; term t has members[term_start[t] ..], counted from
    the output's first law. `columns` (ntheta, block), `values` (most laws of an output, block) and `work` (2, block)
    are work arrays.
    """
    block = columns.shape[1]
    low, best = work[0], work[1]
    for start in range(0, x.shape[0], block):
        count = min(block, x.shape[0] - start)
        for output in range(out.shape[1]):
            evaluate_laws(x, start, count, law_start[output], law_start[output + 1], F, g, columns, values)
            for term in range(output_terms[output], output_terms[output + 1]):
                least_of_term(members, term_start[term], term_start[term + 1], count, values, low)
                if term == output_terms[output]:
                    for b in range(count):
                        best[b] = low[b]
                else:
                    for b in range(count):
                        best[b] = low[b] if low[b] > best[b] else best[b]
            for b in range(count):
                out[start + b, output] = best[b]
