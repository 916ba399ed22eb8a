"""The monitor beside the filter: is the plant still inside the bounds its certificate assumes?"""

from dataclasses import dataclass, field

import numpy as np

from yannctl.types import ArrayLike

from .inclusion import Inclusion

ALARM = 0.8


@dataclass
class ResidualMonitor:
    """Largest share of W that the measured transitions have used, max |w| / W; an alarm from 0.8 on.

    Args:
        inclusion: the certified models.
        alarm_at: share at which the alarm is raised; above 1 the certificate no longer speaks about this plant.
    """

    inclusion: Inclusion
    alarm_at: float = ALARM
    worst: float = field(default=0.0, init=False)
    last: float = field(default=0.0, init=False)

    def update(self, x: ArrayLike, u: ArrayLike, x_next: ArrayLike) -> bool:
        """Look at one transition, or a batch.

        Args:
            x: states (..., nx).
            u: inputs that were applied (..., nu).
            x_next: states one period later (..., nx).

        Returns:
            True where the alarm is on.
        """
        share = np.asarray(self.inclusion.residual_share(x, u, x_next))
        self.last = float(np.max(share, initial=0.0)) if np.isfinite(share).all() else float("inf")
        self.worst = max(self.worst, self.last)
        return self.worst >= self.alarm_at

    def reset(self) -> None:
        """Forget all transitions."""
        self.worst = self.last = 0.0
