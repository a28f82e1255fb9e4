"""Objects whose arrays and buffers lie in one piece of shared memory."""
