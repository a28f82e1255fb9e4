"""Numbers of bytes as text, in the unit that suits them."""


def in_bytes(nbytes: int) -> str:
    """Return a number of bytes with its unit, such as ``4.194 MB``."""
    power = min(4, (len(str(nbytes)) - 1) // 3)
    return f"{nbytes / 1000**power:.4g} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
