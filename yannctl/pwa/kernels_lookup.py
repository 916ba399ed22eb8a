"""Looking points up in a search tree: eight descents at a time, no branch on the side taken, exact at the planes.

`nodes` (n_nodes, ntheta + 1 and more) are planes [h, k]; `child` (n_nodes, 2), a view of the same records: child[i, 0]
is the side h'theta <= k of node i. The last n_leaves nodes are the leaves, which lead to themselves. A leaf's regions
are `members[first[i]:first[i+1]]`, in rising order. `answer` (n_leaves,) is what holds in the cell away from the
planes: a region (or one with the same law, where the law is asked for), NOWHERE, or CHECK. `laws` (n_leaves, n_out,
ntheta + 1) are [F, g] of the answers, NaN where there is none; `dims` is a tuple of ntheta zeros, so that the loops
over parameters unroll.

A point within `margin` of the parameter box's border or of a plane on its way may belong to regions of either side:
`search` follows both and applies the evaluation rule to all regions met. Everywhere else the leaf's regions are the
only ones that can hold the point.
`box` (4, ntheta) is the parameter box without that border, and the larger one that the tree divides.
"""

import typing

import numpy as np

from .compilation import inner, kernel, once
from .kernels_cell import CHECK, NOWHERE

STACK = 256  # a descent that follows both sides holds at most one open node a level
BEYOND = -2  # the point lies outside the box that the tree divides


@inner
@typing.no_type_check
def infinity(array):
    """Return infinity in the precision of an array."""
    return array.dtype.type(np.inf)


@inner
@typing.no_type_check
def violation(theta, b, i, rows, right, row_start, dims, best):
    """Return the largest row violation of region i at theta[b], or one not below `best`."""
    worst = -infinity(right)
    for row in range(row_start[i], row_start[i + 1]):
        total = rows[row, 0] * theta[b, 0]
        for j in range(1, len(dims)):
            total += rows[row, j] * theta[b, j]
        total -= right[row]
        if total > worst:
            worst = total
            if worst > best:
                break
    return worst


@inner
@typing.no_type_check
def among(theta, b, leaf, first, members, rows, right, row_start, dims, best, index):
    """Return the region of least violation among a leaf's and (best, index); the lowest index wins a tie."""
    for position in range(first[leaf], first[leaf + 1]):
        i = members[position]
        worst = violation(theta, b, i, rows, right, row_start, dims, best)
        if worst < best or (worst == best and i < index):
            best = worst
            index = i
    return best, index


@inner
@typing.no_type_check
def search(theta, b, margin, tree, tables, dims, stack):
    """Return the region by the rule among all leaves that theta[b] may lie in, and its violation."""
    nodes, child, first, members = tree
    rows, right, row_start = tables
    first_leaf = np.int64(nodes.shape[0] - first.shape[0] + 1)
    best = infinity(right)
    index = np.int64(-1)
    stack[0] = 0
    top = 1
    while top > 0:
        top -= 1
        at = np.int64(stack[top])
        if at >= first_leaf:
            best, index = among(theta, b, at - first_leaf, first, members, rows, right, row_start, dims, best, index)
            continue
        total = -nodes[at, len(dims)]
        for j in range(len(dims)):
            total += nodes[at, j] * theta[b, j]
        if total <= margin:
            stack[top] = child[at, nodes.itemsize // 4 * (len(dims) + 1)]
            top += 1
        if total >= -margin:
            stack[top] = child[at, nodes.itemsize // 4 * (len(dims) + 1) + 1]
            top += 1
    return best, index


@once
@typing.no_type_check
def inside(theta, b, first, box, dims):
    """Tell whether theta[b] lies in a box, its corners in two rows of `box`; a NaN does not."""
    good = True
    for j in range(len(dims)):
        good = good & (theta[b, j] >= box[first, j]) & (theta[b, j] <= box[first + 1, j])
    return good


@once
@typing.no_type_check
def step(theta, b, at, near, nodes, child, dims):
    """Return the child of node `at` on the side of theta[b], and the least distance from a plane so far."""
    total = -nodes[at, np.uint64(len(dims))]
    for j in range(len(dims)):
        total += nodes[at, np.uint64(j)] * theta[b, np.uint64(j)]
    side = np.uint64(nodes.itemsize // 4 * (len(dims) + 1)) + np.uint64(total > 0)
    return np.uint64(child[at, side]), min(near, abs(total))


@inner
@typing.no_type_check
def walk(theta, b, nodes, child, first, dims):
    """Return the leaf of a point and the least distance from planes on the way."""
    first_leaf = np.uint64(nodes.shape[0] - first.shape[0] + 1)
    at, near = np.uint64(0), infinity(nodes)
    while at < first_leaf:
        at, near = step(theta, b, at, near, nodes, child, dims)
    return at - first_leaf, near


@once
@typing.no_type_check
def descend(theta, start, nodes, child, first_leaf, dims):
    """Return eight points from `start` on (the last one again when they end), their leaves and least distances."""
    last = np.uint64(theta.shape[0] - 1)
    b0 = np.uint64(start)
    b1, b2, b3 = min(b0 + np.uint64(1), last), min(b0 + np.uint64(2), last), min(b0 + np.uint64(3), last)
    b4, b5, b6 = min(b0 + np.uint64(4), last), min(b0 + np.uint64(5), last), min(b0 + np.uint64(6), last)
    b7 = min(b0 + np.uint64(7), last)
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = np.uint64(0)
    d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = infinity(nodes)
    while (
        (a0 < first_leaf) | (a1 < first_leaf) | (a2 < first_leaf) | (a3 < first_leaf)
        | (a4 < first_leaf) | (a5 < first_leaf) | (a6 < first_leaf) | (a7 < first_leaf)
    ):  # fmt: skip
        a0, d0 = step(theta, b0, a0, d0, nodes, child, dims)
        a1, d1 = step(theta, b1, a1, d1, nodes, child, dims)
        a2, d2 = step(theta, b2, a2, d2, nodes, child, dims)
        a3, d3 = step(theta, b3, a3, d3, nodes, child, dims)
        a4, d4 = step(theta, b4, a4, d4, nodes, child, dims)
        a5, d5 = step(theta, b5, a5, d5, nodes, child, dims)
        a6, d6 = step(theta, b6, a6, d6, nodes, child, dims)
        a7, d7 = step(theta, b7, a7, d7, nodes, child, dims)
    return (
        (b0, a0 - first_leaf, d0), (b1, a1 - first_leaf, d1), (b2, a2 - first_leaf, d2), (b3, a3 - first_leaf, d3),
        (b4, a4 - first_leaf, d4), (b5, a5 - first_leaf, d5), (b6, a6 - first_leaf, d6), (b7, a7 - first_leaf, d7),
    )  # fmt: skip


@once
@typing.no_type_check
def told(theta, b, leaf, near, margin, answer, box, dims):
    """Return the answer of a leaf, CHECK for a point close to a plane on its way, to the box's border, or outside."""
    clear = (near > margin) & inside(theta, b, np.uint64(0), box, dims)
    return np.int64(answer[leaf]) if clear else np.int64(CHECK)


@once
@typing.no_type_check
def apply(theta, b, i, laws, dims, out):
    """Write law i at theta[b], in the order of the evaluation rule."""
    for output in range(out.shape[1]):
        r = np.uint64(output)
        total = laws[i, r, np.uint64(0)] * theta[b, np.uint64(0)]
        for j in range(1, len(dims)):
            total += laws[i, r, np.uint64(j)] * theta[b, np.uint64(j)]
        out[b, r] = total + laws[i, r, np.uint64(len(dims))]


@kernel
@typing.no_type_check
def locate_many(theta, margin, tree, answer, box, dims, index, slow):
    """Write the region of each row of theta or NOWHERE.

    Returns how many rows are left to check; they are listed in `slow` (rows + 8,), the last one perhaps repeatedly.
    """
    nodes, child, first, _ = tree
    first_leaf = np.uint64(nodes.shape[0] - first.shape[0] + 1)
    left = 0
    for start in range(0, theta.shape[0], 8):
        for b, leaf, near in descend(theta, start, nodes, child, first_leaf, dims):
            index[b] = told(theta, b, leaf, near, margin, answer, box, dims)
            slow[left] = b
            left += index[b] == CHECK
    return left


@kernel
@typing.no_type_check
def law_many(theta, margin, tree, answer, box, dims, laws, out, slow):
    """Write the law at each row of theta; what is returned and `slow` are as in `locate_many`."""
    nodes, child, first, _ = tree
    first_leaf = np.uint64(nodes.shape[0] - first.shape[0] + 1)
    left = 0
    for start in range(0, theta.shape[0], 8):
        for b, leaf, near in descend(theta, start, nodes, child, first_leaf, dims):
            apply(theta, b, leaf, laws, dims, out)
            slow[left] = b
            left += told(theta, b, leaf, near, margin, answer, box, dims) == CHECK
    return left


@kernel
@typing.no_type_check
def law_one(theta, margin, tree, answer, box, dims, laws, out):
    """Write the law at theta (1, ntheta) to out (1, n_out); tell whether it is left to check."""
    nodes, child, first, _ = tree
    b = np.uint64(0)
    leaf, near = walk(theta, b, nodes, child, first, dims)
    apply(theta, b, leaf, laws, dims, out)
    return told(theta, b, leaf, near, margin, answer, box, dims) == CHECK


@kernel
@typing.no_type_check
def resolve(theta, left, margin, tolerance, tree, tables, box, dims, stack, index, slow):
    """Write the regions of the first `left` rows listed in `slow` to index[0:left]: by the rule, NOWHERE or BEYOND."""
    rows, right, row_start = tables
    far = infinity(rows)
    for position in range(left):
        b = slow[position]
        if not inside(theta, b, 2, box, dims):
            index[position] = BEYOND
            continue
        at, near = walk(theta, np.uint64(b), tree[0], tree[1], tree[2], dims)
        if near > margin and inside(theta, b, 0, box, dims):
            leaf = np.int64(at)
            best, i = among(theta, b, leaf, tree[2], tree[3], rows, right, row_start, dims, far, np.int64(NOWHERE))
        else:
            best, i = search(theta, b, margin, tree, tables, dims, stack)
        index[position] = i if best <= tolerance else NOWHERE


@kernel
@typing.no_type_check
def apply_many(theta, index, rows, dims, laws, out):
    """Write law index[i] at point rows[i]."""
    for position in range(rows.shape[0]):
        apply(theta, rows[position], index[position], laws, dims, out)
