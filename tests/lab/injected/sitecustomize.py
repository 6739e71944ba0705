"""Python loads this module by itself when it starts; here it lets the lab watch the event loop of a proxy."""

import importlib
import os
import sys

# `tests.lab.loops` sets them. What has no loop stays as slim as it is: some helpers have little memory.
_REPORTS = os.environ.get("TWODFS_LAB_LOOP_REPORTS")
_MODULES = os.environ.get("TWODFS_LAB_LOOP_MODULES", "").split()

if _REPORTS and not set(_MODULES).isdisjoint(sys.orig_argv):
    importlib.import_module("loop_watchdog").watch_process(_REPORTS)
