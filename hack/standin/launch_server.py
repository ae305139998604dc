"""`python3 -m sglang.launch_server` in the image of the stand-in, which has this file there."""

import sys

from hack.standin.__main__ import app

app(["launch-server", *sys.argv[1:]])
