"""
The admin endpoint: health, status, and the registry for those who may change it.
"""
