"""Published bytes against rebuilt bytes: how they differ, and why. Pure, but for diffoscope."""
