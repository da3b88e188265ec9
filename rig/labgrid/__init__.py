"""Boards of other hosts, as labgrid's coordinator knows them: places, their resources, and who holds them.

labgrid runs as a process only. Its package brings a fork of pyserial under pyserial's own name, and a pytest plugin
whose fixtures shadow others, so it lives in an environment of its own (`make labgrid`) and is never imported.
"""
