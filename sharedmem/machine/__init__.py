"""Cores, memory, threads, signals, locks, and libraries of the process, also at a fork."""
