"""The built-in simulator: the upstream of every model that has no real route."""

from apps.upstreams.simulator.core import Simulator
from apps.upstreams.simulator.transport import SimulatorTransport

__all__ = ["Simulator", "SimulatorTransport"]
