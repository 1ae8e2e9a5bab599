"""The client as a service of this machine: an HTTP interface in the shape of vLLM's classify API, over open clients.

`access` says where it listens and who is let in, `guard` bounds requests before they are read, `clients` holds an open
client for each head, `answering` makes answers, `routes` and `app` make the application, `server` runs it.
"""

from securealign.client.service.limits import ServiceLimits
from securealign.client.service.server import serve
from securealign.console.access import Access, open_access

__all__ = ["Access", "ServiceLimits", "open_access", "serve"]
