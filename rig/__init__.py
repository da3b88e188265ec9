"""rollback-rig: qualify ESP-IDF OTA rollback on boards, real or virtual."""

__version__ = "0.1.0"
