"""Runtime assurance: sets that are proved, the filter that keeps a learner inside, and the certificate."""

from .clip_filter import ClipFilter

__all__ = ["ClipFilter"]
