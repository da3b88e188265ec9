"""Every power cut: record the flash mutations of one run, enumerate what a cut leaves behind, boot it, judge it."""
