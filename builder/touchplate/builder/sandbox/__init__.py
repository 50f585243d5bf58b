"""What holds a build: bubblewrap, gVisor and the sandbox of images, their limits, what this host gives."""
