"""The index: facts about files, derived from the log. It can be deleted at any time and is then built
again."""
