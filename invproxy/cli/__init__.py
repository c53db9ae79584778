"""
The command C{invproxy}: a client of the admin API.
"""


def main() -> None:
    """
    Run the command; what its console script calls.
    """
    # Costly to import, so not for those who want something else of this package.
    from invproxy.cli.commands import invproxy

    invproxy(prog_name="invproxy")
