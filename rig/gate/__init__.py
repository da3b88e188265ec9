"""The release gate: what can never be mended in the field, checked on the artefacts about to ship."""
