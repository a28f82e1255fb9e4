"""Teams of workers: processes and threads that run tasks and send results."""
