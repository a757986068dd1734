"""Token reducers by name."""
from streamassist.tokens.base import TokenReducer
from streamassist.tokens.basis_residual import BasisResidual
from streamassist.tokens.frame_choice import Curvature, Motion, SceneCut
from streamassist.tokens.key_norm import KeyNorm
from streamassist.tokens.merging import Merging
from streamassist.tokens.slow_fast import SlowFast
from streamassist.tokens.stc_pruner import STCPruner
from streamassist.tokens.temporal_drop import TemporalDrop
from streamassist.tokens.tom_reduction import TOMReduction

__all__ = ["METHODS", "TokenReducer"]

METHODS: dict[str, type[TokenReducer]] = {
    "none": TokenReducer,
    "temporal_drop": TemporalDrop,
    "stc": STCPruner,
    "tom": TOMReduction,
    "basis": BasisResidual,
    "merging": Merging,
    "slow_fast": SlowFast,
    "key_norm": KeyNorm,
    "motion": Motion,
    "curvature": Curvature,
    "scene": SceneCut,
}
