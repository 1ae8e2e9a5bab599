"""The launcher of the client: the program is securealign.client."""
