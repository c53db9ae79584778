"""
C{python -m soak}.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from argparse import ArgumentParser, Namespace

from soak.report import plain
from soak.run import Options, Run
from stage.programs import StageError

_MOST_MINUTES = 7 * 24 * 60.0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(arguments: list[str]) -> Options:
    parser = ArgumentParser(
        prog="python -m soak",
        description="Let visitors ask for everything there is while agents come and go; then look what is left of it.",
        epilog="Exit status: 0 if all was right and nothing is left, 1 if not, 2 if there was no run.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long (10)")
    parser.add_argument("--seed", type=int, help="draw what an earlier run drew")
    parser.add_argument("--keep", action="store_true", help="keep the logs even if all went well")
    options: Namespace = parser.parse_args(arguments)
    if not 0 < options.minutes <= _MOST_MINUTES:
        parser.error(f"--minutes must be more than 0, and at most {_MOST_MINUTES:g}")
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    return Options(60 * options.minutes, seed, options.keep)


async def _run(options: Options) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    run = Run(options, _say)
    minutes = options.seconds / 60
    _say(f"{minutes:g} minute{'' if minutes == 1 else 's'}, seed {options.seed}")
    await run.run()
    _say(plain(run))
    return 1 if run.failures else 0


def main() -> int:
    """
    Run the command line.

    @return: the exit status.
    """
    try:
        return asyncio.run(_run(_parse(sys.argv[1:])))
    except StageError as error:
        sys.stderr.write(f"soak: {error}\n")
    except asyncio.CancelledError:
        sys.stderr.write("soak: ended by a signal\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
