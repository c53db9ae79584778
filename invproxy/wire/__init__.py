"""
The wire formats between proxy and agent, as pure values: bytes in, events out, bytes out.
"""
