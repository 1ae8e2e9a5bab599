"""No drawn example has a deadline: a busy machine is not a failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("securealign", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("securealign")
