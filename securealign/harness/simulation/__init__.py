"""A network in virtual time: what a session that ran in this process would cost over a link.

`Job` records what both parties did, `Network` describes the link, and `replay` lets the same messages travel over it.
No party waits and nothing sleeps: a session is computed once and replayed over as many networks as are asked for.
"""

from securealign.harness.simulation.job import Job
from securealign.harness.simulation.networks import Network, built_in_networks, find_networks
from securealign.harness.simulation.replay import Conditions, replay
from securealign.harness.simulation.session import Session
from securealign.harness.simulation.timeline import Timeline

__all__ = ["Conditions", "Job", "Network", "Session", "Timeline", "built_in_networks", "find_networks", "replay"]
