"""
A chaos run: proxy, agents, links and origins fail at random, while clients check every answer that they get.

C{python -m chaos --help} says how to run it, C{docs/reliability.md} what it checks.
"""
