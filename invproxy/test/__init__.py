"""
Tests of invproxy, run by C{make unit} and C{make integration}.
"""

from hypothesis import settings

# How long something takes is for benchmarks; a test must not fail because its machine is busy.
settings.register_profile("invproxy", deadline=None)
settings.load_profile("invproxy")
