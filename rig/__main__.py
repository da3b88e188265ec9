"""`python -m rig` is `rig`."""

from rig.cli import main

main(prog_name="rig")
