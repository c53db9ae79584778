"""
The registry: which backends there are, who may visit each of them and where, and which tokens their agents have.
"""
