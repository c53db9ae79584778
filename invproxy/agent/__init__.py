"""
The agent: what fetches requests from the proxy and answers them from an origin.
"""
