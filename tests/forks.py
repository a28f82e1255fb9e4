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


def watcher(check, *, now=False):
    """Fork a process that checks something, now or when the returned function is called."""
    wait, tell = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(tell)
            checked = not now or check()
            os.read(wait, 1)
            code = 0 if checked and check() else 1
        finally:
            os._exit(code)
    os.close(wait)

    def end():
        os.close(tell)
        return os.waitpid(pid, 0)[1]

    return end
