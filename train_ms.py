"""The original release's command: python train_ms.py --config-path CONFIG --tag CFMR --log ./log/charades/"""

import sys

from cfmr.cli import main

sys.argv[1:1] = ["train", "--backend", "mindspore"]
main()
