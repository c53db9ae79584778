"""
What the dropin offers to strcred; light, as C{twist} imports it whatever it is asked to do.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

_HELP = """\
Checks names and passwords against a file with a line user:$scrypt$... for each user.
Make its lines with "invproxy passwd". It is read anew when it was changed.
"""


@implementer(ICheckerFactory, IPlugin)
class ScryptFileFactory:
    """
    Makes L{invproxy.auth.passwords.ScryptFileChecker}s: C{--auth scrypt-file:PATH}.
    """

    authType = "scrypt-file"
    authHelp = _HELP
    argStringFormat = "The path of the file."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        """
        Make a checker.

        @param argstring: the path of the file.
        @raise invproxy.errors.ConfigError: if it cannot be read or a line is wrong.
        """
        from invproxy.auth.passwords import ScryptFileChecker

        return ScryptFileChecker(argstring)
