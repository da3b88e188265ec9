"""What the report page is made of: clean text, sums, the boot lanes, the coverage of state transitions."""
