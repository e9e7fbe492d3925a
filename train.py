"""The original release's command: python train.py --config-path CONFIG --tag CFMR --log ./log/charades/"""

import sys

from cfmr.cli import main

sys.argv.insert(1, "train")
main()
