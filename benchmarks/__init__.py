"""
What invproxy costs, beside nginx as a plain reverse proxy: C{python -m benchmarks}, or C{make bench}.
"""
