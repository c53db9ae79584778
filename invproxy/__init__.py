"""
An inverting proxy: a reverse proxy whose backends call it.

The two roles are L{invproxy.proxy} and L{invproxy.agent}; C{twist invproxy-server} and
C{twist invproxy-agent} assemble them from the command line.
"""

__version__ = "0.1.0.dev0"

__all__ = ["__version__"]
