"""What a run will cost before anything is encrypted: bytes, seconds, memory, precision, security, and what it shows.

`phantom` stands in for a suite: its messages have the right sizes and hold zeros, and its work is charged to a clock
instead of done, so that the protocol machines themselves tell which messages travel. What a machine needs for a unit of
work is timed once and kept (`speeds`); `planner` puts both together over a simulated network.
"""

from securealign.harness.planning.planner import CostForecast, Workload, plan
from securealign.harness.planning.speeds import Speeds, speeds_of

__all__ = ["CostForecast", "Speeds", "Workload", "plan", "speeds_of"]
