"""The Conan 2 remote, reading half: paths, pull-through, decisions."""
