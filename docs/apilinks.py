"""
Links from the API reference to what is not ours: C{L{Deferred}}, C{L{None}}, C{L{ValueError}}.

Pydoctor would download inventories for this. Here a name is looked up in the installed packages
instead: a wrong one is still a warning, and the docs build needs no network.
"""

import builtins
import importlib
import inspect
import sys

from pydoctor.model import System
from pydoctor.sphinx import SphinxInventory

PYTHON = "https://docs.python.org/3/library"
API = {
    "twisted": "https://docs.twisted.org/en/stable/api",
    "zope": "https://zopeinterface.readthedocs.io/en/latest/api.html",
    "treq": "https://treq.readthedocs.io/en/latest/api.html",
    "attrs": "https://www.attrs.org/en/stable/api.html",
    "wsproto": "https://python-hyper.org/projects/wsproto/en/stable/api.html",
}


def split(name: str) -> tuple[str, list[str]] | None:
    """
    Split a dotted name into a module that exists and attributes that it has.
    """
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        for attribute in parts[end:]:
            # Methods of interfaces are no attributes of them.
            if hasattr(found, "names") and attribute in found:
                found = found[attribute]
            elif hasattr(found, attribute):
                found = getattr(found, attribute)
            else:
                return None
        return module, parts[end:]
    return None


def link(name: str) -> str | None:
    """
    The address of the documentation of a name outside this project, or L{None} if there is no
    such name.

    @param name: a dotted name as Python would resolve it.
    """
    value = getattr(builtins, name, NotImplemented)
    if value in (None, True, False):
        return f"{PYTHON}/constants.html#{name}"
    if inspect.isclass(value):
        page = "exceptions" if issubclass(value, BaseException) else "stdtypes"
        return f"{PYTHON}/{page}.html#{name}"
    root = name.partition(".")[0]
    if root not in API and root not in sys.stdlib_module_names:
        return None
    if (found := split(name)) is None:
        return None
    module, attributes = found
    if root == "twisted":
        page = ".".join([module, *attributes[:1]])
        return f"{API[root]}/{page}.html" + "".join(f"#{each}" for each in attributes[1:])
    return API.get(root, f"{PYTHON}/{module}.html#{name}")


class Inventory(SphinxInventory):
    """
    An inventory of all that is installed.
    """

    def getLink(self, name: str) -> str | None:
        return super().getLink(name) or link(name)


class LinkingSystem(System):
    """
    Pydoctor's system with that inventory.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.intersphinx = Inventory(logger=self.msg)
