"""The pre-release certificate: what gate and qualification found on a build, in a folder that can be verified."""
