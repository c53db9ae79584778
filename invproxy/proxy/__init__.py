"""
The proxy: what clients and agents connect to.
"""
