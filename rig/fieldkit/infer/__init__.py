"""From the boots that a log shows to the beginnings that explain them, by search with the reference model."""
