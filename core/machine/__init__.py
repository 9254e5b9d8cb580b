"""Devices, threads and memory of the machine that the engine runs on."""
