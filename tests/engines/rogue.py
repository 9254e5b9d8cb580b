"""Engines that do not keep the protocol, whose version they are told: `python rogue.py HOW VERSION`."""

import json
import os
import sys
import time


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def deaf():
    """Gets ready, then neither answers nor ends, not even with its input."""
    say(type="ready", protocol=int(sys.argv[2]))


def babbling():
    sys.stderr.write("Segmentation of the fault is normal\n")
    sys.stderr.flush()
    say(type="ready", protocol=int(sys.argv[2]))
    sys.stdout.write("hello, world\n")
    sys.stdout.flush()


def foreign():
    say(type="ready", protocol=99)


def mute():
    """Closes its output, but lives."""
    os.close(1)


if __name__ == "__main__":
    {"deaf": deaf, "babbling": babbling, "foreign": foreign, "mute": mute}[sys.argv[1]]()
    time.sleep(120)
