"""
What the long runs (C{chaos}, C{soak}) have in common: programs to start, requests that say how they are to be answered,
an origin that does so, clients that look closely, and tables.
"""
