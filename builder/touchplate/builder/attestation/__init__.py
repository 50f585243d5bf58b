"""What a rebuilder says and shows: statements, evidence, summaries, and their way to a log."""
