#!/usr/bin/env python3
"""Stands in for systemctl in the scratch root: hands its arguments to the scenario, which plays
systemd, and ends with the status that it answers."""

import socket
import sys

with socket.socket(socket.AF_UNIX) as manager:
    manager.connect("/run/package/manager.sock")
    manager.sendall(" ".join(sys.argv[1:]).encode() + b"\n")
    sys.exit(int(manager.makefile().readline()))
