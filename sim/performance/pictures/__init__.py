"""Pictures of what the performance model tells: `draw` for a result, `pareto` for a sweep."""

from hwroute.sim.performance.pictures.everything import draw
from hwroute.sim.performance.pictures.pareto import front, pareto

__all__ = ["draw", "front", "pareto"]
