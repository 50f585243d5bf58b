"""The builder's commands, one module each, and how they show what they found."""
