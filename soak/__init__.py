"""
A soak run: mixed traffic for as long as one likes, agents that come and go, and at the end nothing may be left.

C{python -m soak --help} says how to run it, C{docs/reliability.md} what it checks.
"""
