"""Compiled kernels on a grid of one or two states: locate, interpolate, sweep.

Values lie in an array with one row and one column more than there are nodes: a copy of the first node on a periodic
axis, unused otherwise. The four corners of every cell are then i, i + 1, i + stride, i + stride + 1.
"""

import typing

import numba


@numba.njit(cache=True)
@typing.no_type_check
def locate_points(x, origin, spacing, count, periodic, stride, base, weight):
    """Find the cell and the position in it (0 to 1) of each point; points beyond an edge count as on it.

    Args:
        x: points (n, 2).
        origin: first node (2,).
        spacing: distance of the nodes (2,).
        count: number of nodes (2,).
        periodic: whether an axis closes on itself (2,).
        stride: distance of two rows of the padded values.
        base: first corner of each cell.
        weight: position in the cell along both axes, 0 to 1.
    """
    for n in range(x.shape[0]):
        index = 0
        for axis in range(2):
            position = (x[n, axis] - origin[axis]) / spacing[axis]
            nodes = count[axis]
            if periodic[axis]:
                position -= nodes * (position // nodes)
                cell = min(int(position), nodes - 1)
            else:
                position = min(max(position, 0.0), nodes - 1.0)
                cell = min(int(position), max(nodes - 2, 0))
            weight[n, axis] = position - cell
            index += cell * (stride if axis == 0 else 1)
        base[n] = index


@numba.njit(cache=True)
@typing.no_type_check
def interpolate(values, base, weight, stride, out):
    """Interpolate linearly along both axes.

    Args:
        values: values in the padded layout.
        base: first corner of each cell.
        weight: position in the cell along both axes, 0 to 1.
        stride: distance of two rows of the padded values.
        out: result, one number a point or node.
    """
    for n in range(base.shape[0]):
        i = base[n]
        a, b = weight[n, 0], weight[n, 1]
        low = (1.0 - b) * values[i] + b * values[i + 1]
        high = (1.0 - b) * values[i + stride] + b * values[i + stride + 1]
        out[n] = (1.0 - a) * low + a * high


@numba.njit(cache=True)
@typing.no_type_check
def sweep_best(values, rewards, base, weight, gamma, stride, out, choice):
    """Bellman sweep out = max_u r + gamma V(x+) over all inputs of every node; `choice` is the best input.

    Args:
        values: values in the padded layout.
        rewards: reward of each node and input.
        base: first corner of each cell.
        weight: position in the cell along both axes, 0 to 1.
        gamma: discount.
        stride: distance of two rows of the padded values.
        out: result, one number a point or node.
        choice: index of the best input of each node.
    """
    for s in range(base.shape[0]):
        best = -1.7e308
        chosen = 0
        for j in range(base.shape[1]):
            i = base[s, j]
            a, b = weight[s, j, 0], weight[s, j, 1]
            low = (1.0 - b) * values[i] + b * values[i + 1]
            high = (1.0 - b) * values[i + stride] + b * values[i + stride + 1]
            value = rewards[s, j] + gamma * ((1.0 - a) * low + a * high)
            if value > best:
                best = value
                chosen = j
        out[s] = best
        choice[s] = chosen


@numba.njit(cache=True)
@typing.no_type_check
def sweep_chosen(values, rewards, base, weight, gamma, stride, out, choice):
    """The sweep of one policy: out = r + gamma V(x+) at the chosen input of every node.

    Args:
        values: values in the padded layout.
        rewards: reward of each node and input.
        base: first corner of each cell.
        weight: position in the cell along both axes, 0 to 1.
        gamma: discount.
        stride: distance of two rows of the padded values.
        out: result, one number a point or node.
        choice: index of the best input of each node.
    """
    for s in range(base.shape[0]):
        j = choice[s]
        i = base[s, j]
        a, b = weight[s, j, 0], weight[s, j, 1]
        low = (1.0 - b) * values[i] + b * values[i + 1]
        high = (1.0 - b) * values[i + stride] + b * values[i + stride + 1]
        out[s] = rewards[s, j] + gamma * ((1.0 - a) * low + a * high)


@numba.njit(cache=True)
@typing.no_type_check
def store(nodes, count, periodic, stride, values):
    """Copy node values into the padded array and return the largest change.

    Args:
        nodes: node values, the last axis fastest.
        count: number of nodes (2,).
        periodic: whether an axis closes on itself (2,).
        stride: distance of two rows of the padded values.
        values: values in the padded layout.
    """
    change = 0.0
    for i in range(count[0]):
        for j in range(count[1]):
            new = nodes[i * count[1] + j]
            change = max(change, abs(new - values[i * stride + j]))
            values[i * stride + j] = new
        values[i * stride + count[1]] = values[i * stride] if periodic[1] else values[i * stride + count[1] - 1]
    first = 0 if periodic[0] else (count[0] - 1) * stride
    for j in range(stride):
        values[count[0] * stride + j] = values[first + j]
    return change
