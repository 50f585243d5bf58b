"""What every touchplate process needs and nothing more. Knows nothing of trees or builds."""
