"""Teams of workers: processes and threads, what they are told, and what they give back."""
