"""From a bug report to a reproduced, minimised test: explain, scenarios, replay, reproduce, minimise, fuzz."""
