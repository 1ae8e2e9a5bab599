"""The launcher of the provider: the program is securealign.provider."""
