"""Step 9: the fixed-rate loop on a rig; the simulated rig obeys the same contract as a real one.

A stop in software is not a safety function: the plant needs its own interlock.
"""

from .clock import AbstractClock, MonotonicClock, VirtualClock
from .loop import FixedRateLoop, LoopSettings, run_loop
from .report import LoopReport, LoopState, Source
from .rig import AbstractRig, RigError, Sample
from .simulated import SimulatedRig

__all__ = [
    "AbstractClock",
    "AbstractRig",
    "FixedRateLoop",
    "LoopReport",
    "LoopSettings",
    "LoopState",
    "MonotonicClock",
    "RigError",
    "Sample",
    "SimulatedRig",
    "Source",
    "VirtualClock",
    "run_loop",
]
