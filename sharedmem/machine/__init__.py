"""What the process and its libraries may use, and how they act at forks, signals, and exits."""
