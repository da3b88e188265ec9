"""Speed, as tables with ratios measured side by side in one run. `make bench` runs all of them."""
