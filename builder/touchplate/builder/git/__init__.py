"""Git commits as sources: one commit fetched by its id, taken apart in a sandbox, known by its tree."""
