"""
C{python -m chaos}.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from chaos.faults import KINDS, USUAL
from chaos.report import asJSON, plain
from chaos.run import Options, Run
from chaos.stage import CARRIERS
from stage.programs import StageError

_MOST_MINUTES = 24 * 60.0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(arguments: list[str]) -> tuple[Options, Path | None]:
    parser = ArgumentParser(
        prog="python -m chaos",
        description="Let proxy, agents, links and origins fail at random, and check every answer that clients get.",
        epilog="Exit status: 0 if every check held, 1 if one failed, 2 if there was no run.",
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="for how long things go wrong (10)"
    )
    parser.add_argument("--seed", type=int, help="have the faults of an earlier run again")
    parser.add_argument(
        "--carrier", choices=CARRIERS, default="both", help="what the agents use (both)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came out there, too")
    parser.add_argument(
        "--faults",
        metavar="KIND,...",
        help=f"what goes wrong, of: {', '.join(map(str, KINDS))} (all but the last)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs even if all went well")
    options: Namespace = parser.parse_args(arguments)
    if not 0 < options.minutes <= _MOST_MINUTES:
        parser.error(f"--minutes must be more than 0, and at most {_MOST_MINUTES:g}")
    known = {str(kind): kind for kind in KINDS}
    names = options.faults.split(",") if options.faults else list(map(str, USUAL))
    unknown = set(names) - known.keys()
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    kinds = tuple(known[name] for name in names)
    run = Options(60 * options.minutes, seed, options.carrier, kinds, options.keep)
    return run, options.json


async def _run(options: Options, file: Path | None) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    began = time.monotonic()
    run = Run(options, _say)
    minutes = options.seconds / 60
    _say(
        f"{minutes:g} minute{'' if minutes == 1 else 's'}, carrier {options.carrier}, seed {options.seed}"
    )
    _say(f"every request ends within {run.checks.bounds}")
    await run.run()
    _say(plain(run))
    if file is not None:
        file.write_text(json.dumps(asJSON(run, began), indent=2) + "\n")
    return 1 if run.failures.found else 0


def main() -> int:
    """
    Run the command line.

    @return: the exit status.
    """
    options, file = _parse(sys.argv[1:])
    try:
        return asyncio.run(_run(options, file))
    except StageError as error:
        sys.stderr.write(f"chaos: {error}\n")
        return 2
    except asyncio.CancelledError:
        sys.stderr.write("chaos: ended by a signal\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
