"""The loops that families of kernels share."""
