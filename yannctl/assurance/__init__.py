"""Runtime assurance: sets that are proved, the filter that keeps a learner inside, and the certificate.

| step | verb or class | what it makes |
| --- | --- | --- |
| 1 | `Flow`, `DiscreteMap` | validated bounds of one sample period |
| 2 | `bound_inclusion(sampled, domain, errors)` | `Inclusion`: linear models and W that hold every successor |
| 3 | `certify(statement, domain, inclusion)` | `Certificate`: invariant set, corner inputs, filter rows, proof |
| 4 | `save_certificate`, `load_certificate` | the signed file; loading proves it again, exactly |
| 5 | `SafetyFilter(certificate.safe_set())` | the filter u_safe = filter(x, u), with recovery and trip |
| 6 | `attack(target(name), policy, steps)` | attacks on the filtered nonlinear plant, counted |
"""

from .analytic_certificate import ANALYTIC, AnalyticCertificate, certify_barrier, certify_stopping
from .analytic_checker import check_analytic
from .barrier_set import BarrierSet, barrier_set
from .certificate import (
    CLAIM,
    Certificate,
    Statement,
    certificate_bytes,
    certify,
    is_certificate_file,
    load_certificate,
    read_certificate,
    save_certificate,
)
from .checker import CheckReport, check_polytopic
from .clip_filter import ClipFilter
from .designs import DESIGNS, Design, design
from .diagnosis import Remedy, certify_design, certify_or_explain, diagnose
from .falsifier import POLICIES, Attack, Target, attack
from .filtered import Filtered, guard
from .gradient_attack import GRADIENT, can_follow_gradients, gradient_attack
from .inclusion import Domain, Errors, Inclusion, bound_inclusion
from .monitor import ResidualMonitor
from .projection_filter import ProjectionFilter
from .runaway_set import RunawaySet, runaway_barrier
from .safe_set import AbstractSafeSet, CertifiedPolytope, PolytopicSet, ProjectedSet
from .safety_filter import Decision, SafetyFilter
from .sampled_map import DiscreteMap, Flow
from .searched_attack import SEARCH, can_search, search_attack
from .signature import new_key, public_key
from .stopping_set import StoppingSet
from .targets import TARGETS, certified, covered_share, reactor_barrier, robot_stopping_set, target

__all__ = [
    "ANALYTIC",
    "CLAIM",
    "DESIGNS",
    "GRADIENT",
    "POLICIES",
    "SEARCH",
    "TARGETS",
    "AbstractSafeSet",
    "AnalyticCertificate",
    "Attack",
    "BarrierSet",
    "Certificate",
    "CertifiedPolytope",
    "CheckReport",
    "ClipFilter",
    "Decision",
    "Design",
    "DiscreteMap",
    "Domain",
    "Errors",
    "Filtered",
    "Flow",
    "Inclusion",
    "PolytopicSet",
    "ProjectedSet",
    "ProjectionFilter",
    "Remedy",
    "ResidualMonitor",
    "RunawaySet",
    "SafetyFilter",
    "Statement",
    "StoppingSet",
    "Target",
    "attack",
    "barrier_set",
    "bound_inclusion",
    "can_follow_gradients",
    "can_search",
    "certificate_bytes",
    "certified",
    "certify",
    "certify_barrier",
    "certify_design",
    "certify_or_explain",
    "certify_stopping",
    "check_analytic",
    "check_polytopic",
    "covered_share",
    "design",
    "diagnose",
    "gradient_attack",
    "guard",
    "is_certificate_file",
    "load_certificate",
    "new_key",
    "public_key",
    "reactor_barrier",
    "read_certificate",
    "robot_stopping_set",
    "runaway_barrier",
    "save_certificate",
    "search_attack",
    "target",
]
