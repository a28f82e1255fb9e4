"""Functions that are called in forked processes."""

import os


def in_child(function):
    """Call a function in a forked process and return whether it gave True."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
