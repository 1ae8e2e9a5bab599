"""A network in virtual time: what a session that ran in this process would cost over a link.

A session in this process keeps its steps (`securealign.transport.steps`); `Network` describes a link, and `replay`
computes when the same messages would arrive over it. Nothing sleeps: a session is computed once and replayed over as
many networks as are asked for.
"""

from securealign.harness.simulation.networks import Network, built_in_networks, find_networks
from securealign.harness.simulation.replay import Conditions, Timeline, replay

__all__ = ["Conditions", "Network", "Timeline", "built_in_networks", "find_networks", "replay"]
