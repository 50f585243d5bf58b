"""Does a build give the same bytes again? Here, varied, or from what a log holds."""
