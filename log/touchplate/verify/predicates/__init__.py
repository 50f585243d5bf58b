"""The predicates that touchplate knows, a module each: what their fields must be (statement format 4)."""
