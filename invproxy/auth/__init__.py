"""
Authentication: who an agent is, and who an end user is.
"""
