"""One expression, many machines: a CasADi expression flattened into a list of instructions.

`ExpressionTape` runs that list on batches of numpy samples (one numba kernel for every expression, see
`kernel.py`), on torch tensors (differentiable, any device) and prints it as a C99 function, so that a plant
written once in CasADi gives the same numbers everywhere. Nothing is generated as Python source.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from yannctl.errors import ModelError
from yannctl.types import ArrayLike, Float, Int

from .opcodes import BINARY, Op, c_number, c_operation, torch_operations


@dataclass(frozen=True, eq=False)
class ExpressionTape:
    """A CasADi function as arrays of instructions: result slot, operation, operand slots.

    Work slots hold the constants first (one each, set once a call), then the intermediate values, reused as soon as
    they are dead. The slot of a result is never that of its operands.

    Args:
        name: name of the CasADi function.
        program: one row an instruction, (operation, result, a, b); LOAD reads input a, STORE writes output `result`.
        constants: values of the first slots.
        n_slots: number of work slots.
        input_names: names of the inputs.
        output_names: names of the outputs.
        input_shapes: (rows, columns) of each input; columns-first inside the stacked vector, as CasADi does.
        output_shapes: (rows, columns) of each output.
    """

    name: str
    program: Int[np.ndarray, "instructions 4"]
    constants: Float[np.ndarray, " constants"]
    n_slots: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    input_shapes: tuple[tuple[int, int], ...]
    output_shapes: tuple[tuple[int, int], ...]
    n_in: int = field(init=False)
    n_out: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_in", sum(rows * columns for rows, columns in self.input_shapes))
        object.__setattr__(self, "n_out", sum(rows * columns for rows, columns in self.output_shapes))

    @classmethod
    def from_function(cls, function: Any) -> "ExpressionTape":
        """Flatten a CasADi Function.

        Args:
            function: casadi.Function made of SX expressions, or of MX ones that expand to SX.

        Returns:
            The tape; equal subexpressions are computed once.

        Raises:
            ModelError: an operation the tape does not know, or a Function that does not expand.
        """
        import casadi as ca

        try:
            scalar = function if function.is_a("SXFunction") else function.expand()
        except RuntimeError as error:
            raise ModelError(
                "function", f"{function.name()} does not expand to scalar operations: {error}", remedy="write it in SX"
            ) from error
        arguments = [ca.SX.sym(f"i{i}", *scalar.size_in(i)) for i in range(scalar.n_in())]
        results = [ca.vec(ca.densify(value)) for value in scalar.call(arguments)]
        stacked = ca.Function("stacked", [ca.vertcat(*map(ca.vec, arguments))], [ca.vertcat(*results)])
        program, constants, n_slots = _allocate(*_number_values(stacked))
        return cls(
            name=function.name(),
            program=program,
            constants=constants,
            n_slots=n_slots,
            input_names=tuple(function.name_in()),
            output_names=tuple(function.name_out()),
            input_shapes=tuple(function.size_in(i) for i in range(function.n_in())),
            output_shapes=tuple(function.size_out(i) for i in range(function.n_out())),
        )

    def evaluate(self, *inputs: ArrayLike) -> Any:
        """Run the tape on a batch of samples.

        Args:
            inputs: one array an input, (..., rows) for a vector or (..., rows, columns) for a matrix [its own unit];
                the leading batch axes broadcast against each other.

        Returns:
            One array an output with the same batch axes (a tuple when there are several outputs).

        Raises:
            ModelError: wrong number of inputs or wrong shape.
        """
        from .kernel import run_tape

        arrays = [np.asarray(value, dtype=float) for value in inputs]
        arrays, batch = self._flatten(arrays)
        stacked = np.concatenate(arrays, axis=1)
        result = np.empty((stacked.shape[0], self.n_out))
        run_tape(self.program, self.constants, self.n_slots, stacked, result)
        return self._split(result, batch)

    def torch(self, *inputs: Any) -> Any:
        """Run the tape on torch tensors; the result is differentiable and stays on the inputs' device.

        Args:
            inputs: one tensor an input, shaped as for `evaluate`; all of one floating dtype and device.

        Returns:
            One tensor an output with the broadcast batch axes (a tuple when there are several outputs).

        Raises:
            ModelError: wrong number of inputs or wrong shape.
        """
        import torch

        arrays, batch = self._flatten(list(inputs))
        like = arrays[0]
        columns = [array[:, i] for array in arrays for i in range(array.shape[1])]
        slots: list[Any] = [torch.full((), value, dtype=like.dtype, device=like.device) for value in self.constants]
        slots += [None] * (self.n_slots - len(slots))
        special = torch_operations()
        results: list[Any] = [None] * self.n_out
        for code, out, a, b in self.program.tolist():
            if code == Op.LOAD:
                slots[out] = columns[a]
            elif code == Op.STORE:
                results[out] = slots[a].expand(math.prod(batch))
            else:
                operation = special.get(Op(code)) or getattr(torch, Op(code).name.lower())
                slots[out] = operation(slots[a], slots[b]) if code in BINARY else operation(slots[a])
        return self._split(torch.stack(results, dim=-1), batch)

    def c_source(self, name: str, precision: Literal["double", "single"] = "double") -> str:
        """Print the tape as a C99 function without heap, loops or branches on state; it needs `<math.h>`.

        The signature is `void name(const double x[2], ..., double result[2])`, one array an input and output; with
        contraction off (`-ffp-contract=off`) and the same math library the numbers are those of `evaluate`.

        Args:
            name: name of the C function.
            precision: "double" or "single" (float variables and the `f` functions of math.h).

        Returns:
            Text of the function.

        Raises:
            ModelError: `name` is not a C identifier.
        """
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ModelError("name", f"{name!r} is not a C identifier")
        real, suffix = ("double", "") if precision == "double" else ("float", "f")
        reads = list(zip(self.input_names, map(math.prod, self.input_shapes), strict=True))
        writes = list(zip(self.output_names, map(math.prod, self.output_shapes), strict=True))
        parameters = [f"const {real} {array}[{size}]" for array, size in reads]
        parameters += [f"{real} {array}[{size}]" for array, size in writes]
        sources = [f"{array}[{i}]" for array, size in reads for i in range(size)]
        targets = [f"{array}[{i}]" for array, size in writes for i in range(size)]
        # Each result is a fresh local: the compiler keeps it in a register and no store of an output hides a load.
        slots = [c_number(value, suffix) for value in self.constants] + [""] * (self.n_slots - self.constants.size)
        lines, stores = [], []
        for step, (code, out, a, b) in enumerate(self.program.tolist()):
            if code == Op.STORE:
                stores.append(f"    {targets[out]} = {slots[a]};")
                continue
            text = sources[a] if code == Op.LOAD else c_operation(Op(code), slots[a], slots[b], suffix)
            lines.append(f"    const {real} v{step} = {text};")
            slots[out] = f"v{step}"
        return "\n".join([f"void {name}({', '.join(parameters)})", "{", *lines, *stores, "}", ""])

    def _flatten(self, arrays: list[Any]) -> tuple[list[Any], tuple[int, ...]]:
        """Check the shapes and give every input as (samples, entries)."""
        if len(arrays) != len(self.input_shapes):
            raise ModelError("inputs", f"got {len(arrays)}, expected {len(self.input_shapes)}: {self.input_names}")
        batches, flat = [], []
        for name, shape, array in zip(self.input_names, self.input_shapes, arrays, strict=True):
            tail = shape if shape[1] != 1 else shape[:1]
            if tuple(array.shape[array.ndim - len(tail) :]) != tail or array.ndim < len(tail):
                raise ModelError(name, f"shape {tuple(array.shape)}, expected (..., {', '.join(map(str, tail))})")
            batches.append(tuple(array.shape[: array.ndim - len(tail)]))
            flat.append(array.swapaxes(-1, -2) if shape[1] != 1 else array)
        batch = batches[0] if len(set(batches)) == 1 else _broadcast(self.input_names, batches)
        columns = [rows * columns for rows, columns in self.input_shapes]
        for i, own in enumerate(batches):
            if own != batch:
                shape = batch + tuple(flat[i].shape[len(own) :])
                flat[i] = np.broadcast_to(flat[i], shape) if isinstance(flat[i], np.ndarray) else flat[i].expand(shape)
        return [array.reshape(math.prod(batch), n) for array, n in zip(flat, columns, strict=True)], batch

    def _split(self, result: Any, batch: tuple[int, ...]) -> Any:
        """Cut the stacked result into the outputs."""
        outputs, start = [], 0
        for rows, columns in self.output_shapes:
            part = result[:, start : start + rows * columns]
            start += rows * columns
            whole = part.reshape(*batch, rows) if columns == 1 else part.reshape(*batch, columns, rows)
            outputs.append(whole if columns == 1 else whole.swapaxes(-1, -2))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _broadcast(names: tuple[str, ...], batches: list[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*batches)
    except ValueError as error:
        raise ModelError(", ".join(names), f"batch axes {batches} do not broadcast") from error


def _number_values(stacked: Any) -> tuple[list[tuple[int, int, int]], list[float], list[int]]:
    """Rewrite CasADi's instructions so that every value has one number and equal values the same one.

    Returns:
        Operations (code, a, b) of the values, where constants are (-1, index, 0); the constants; the value stored in
        each output.
    """
    import casadi as ca

    codes = {getattr(ca, f"OP_{op.name}"): op for op in Op if op > Op.STORE}
    codes[ca.OP_CONSTPOW] = Op.POW
    values: list[tuple[int, int, int]] = []
    known: dict[tuple[int, int, int], int] = {}
    constants: dict[str, int] = {}  # by exact text, so that 0.0 and -0.0 stay apart
    slot: dict[int, int] = {}
    outputs = [0] * stacked.numel_out(0)
    for k in range(stacked.n_instructions()):
        code, ins, outs = stacked.instruction_id(k), stacked.instruction_input(k), stacked.instruction_output(k)
        if code == ca.OP_OUTPUT:
            outputs[outs[1]] = slot[ins[0]]
            continue
        if code == ca.OP_ASSIGN:
            slot[outs[0]] = slot[ins[0]]
            continue
        if code == ca.OP_CONST:
            key = (-1, constants.setdefault(float(stacked.instruction_constant(k)).hex(), len(constants)), 0)
        elif code == ca.OP_INPUT:
            key = (int(Op.LOAD), ins[1], 0)
        elif code in codes:
            operands = [slot[i] for i in ins]
            key = (int(codes[code]), operands[0], operands[-1])
        else:
            raise ModelError(
                "function",
                f"operation {_operation_name(code)} is not supported",
                index=k,
                remedy="write it with SX operations that the tape knows (yannctl/tape/opcodes.py)",
            )
        if key not in known:
            known[key] = len(values)
            values.append(key)
        slot[outs[0]] = known[key]
    return values, [float.fromhex(text) for text in constants], outputs


def _operation_name(code: int) -> str:
    import casadi as ca

    return next((name for name in dir(ca) if name.startswith("OP_") and getattr(ca, name) == code), f"number {code}")


def _allocate(
    values: list[tuple[int, int, int]], constants: list[float], outputs: list[int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Give each value a work slot, reused after the value's last use, and store outputs as soon as they are known."""
    operands = [() if code <= Op.LOAD else (a, b) if code in BINARY else (a,) for code, a, b in values]
    last_use = {value: step for step, pair in enumerate(operands) for value in pair}
    targets: dict[int, list[int]] = {}
    for position, value in enumerate(outputs):
        targets.setdefault(value, []).append(position)
    slot = {value: a for value, (code, a, _) in enumerate(values) if code == -1}
    free: list[int] = []
    n_slots = len(constants)
    program: list[tuple[int, int, int, int]] = []
    for step, (code, a, b) in enumerate(values):
        if code >= 0:
            if not free:
                free.append(n_slots)
                n_slots += 1
            slot[step] = free.pop()
            first, second = (slot[a], slot[b if code in BINARY else a]) if code > Op.LOAD else (a, 0)
            program.append((code, slot[step], first, second))
        program.extend((int(Op.STORE), position, slot[step], 0) for position in targets.get(step, ()))
        dead = {value for value in operands[step] if last_use[value] == step and values[value][0] >= 0}
        dead |= {step} if code >= 0 and step not in last_use else set()
        free.extend(slot[value] for value in sorted(dead))
    return np.array(program, dtype=np.int64).reshape(-1, 4), np.array(constants, dtype=float), n_slots
