"""The lines that tell of epochs on standard error, apart from which nothing may be said."""

import re

EPOCH = re.compile(r"epoch \d+ of \d+: .*\n?")


def apart_from_epochs(said):
    """What was said on standard error, without the lines that tell of epochs."""
    return "".join(line for line in said.splitlines(keepends=True) if not EPOCH.fullmatch(line))
