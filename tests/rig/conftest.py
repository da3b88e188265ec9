"""Machines are shared: how long one example takes says nothing."""

from hypothesis import settings

settings.register_profile("bench", deadline=None)
settings.load_profile("bench")
