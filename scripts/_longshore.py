"""Finds the longshore binary and becomes it: what the wrapper scripts beside this file share."""

import os
import shutil
import sys

NOT_FOUND = 127  # what a shell answers for a command that is not there


def find_binary():
    """The binary's path: LONGSHORE_BIN if set, else PATH, else the newest build in this repository."""
    chosen = os.environ.get("LONGSHORE_BIN")
    if chosen:
        path = shutil.which(chosen)
        if path is None:
            fail("LONGSHORE_BIN is %r, which is not a program that can be run." % chosen)
        return path
    on_path = shutil.which("longshore")
    if on_path:
        return on_path
    repository = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(repository, "target")
    builds = [os.path.join(target, profile, "longshore") for profile in ("release", "debug")]
    built = [path for path in builds if shutil.which(path)]
    if not built:
        fail(
            "no longshore binary found: not in LONGSHORE_BIN, not on PATH, not in %s.\n"
            "Build it with `cargo build --release` in %s, or set LONGSHORE_BIN to its path." % (target, repository)
        )
    return max(built, key=os.path.getmtime)


def become(*subcommand):
    """Replaces this process by `longshore SUBCOMMAND…` with the arguments that the script was given."""
    binary = find_binary()
    os.environ.pop("LONGSHORE_BIN", None)  # ours, not a setting of longshore's
    try:
        os.execv(binary, [binary, *subcommand, *sys.argv[1:]])
    except OSError as error:
        fail("%s cannot be run: %s." % (binary, error.strerror))


def fail(message):
    sys.stderr.write("%s: %s\n" % (os.path.basename(sys.argv[0]), message))
    sys.exit(NOT_FOUND)
