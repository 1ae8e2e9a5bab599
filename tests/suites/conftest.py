"""No deadline for drawn examples: a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("suites", deadline=None)
settings.load_profile("suites")
