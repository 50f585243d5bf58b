"""What a build is given: fetched through a recording mirror, locked by digest, replayed; never the answer."""
