"""Made-up truths and answers of every kind, the same on every machine: drawn by `random.random` from a seed."""

from random import Random
from typing import Any

TYPES = ("v", "t", "vt")


def window(rng: Random, duration: float, step: float = 2.0) -> list[float]:
    """A window on a grid of `step` seconds, at least one step long."""
    steps = int(duration / step)
    first = int(rng.random() * steps)
    last = first + 1 + int(rng.random() ** 2 * (steps - first))
    return [first * step, min(last, steps) * step]


def near(rng: Random, true: list[float], duration: float) -> list[float]:
    """A window near another one, to two digits."""
    length = true[1] - true[0]
    start = max(0.0, true[0] + (rng.random() - 0.5) * 0.5 * length)
    end = min(duration, max(start + 0.1, true[1] + (rng.random() - 0.5) * 0.5 * length))
    return [round(start, 2), round(end, 2)]


def windows_truth(rng: Random, count: int, *, nothing: float = 0.0) -> list[dict[str, Any]]:
    """QVHighlights: one to four windows a sentence, ratings by three annotators; a share that nothing fits."""
    truth = []
    for number in range(count):
        duration = 150 if rng.random() < 0.8 else 126
        windows = [window(rng, duration) for _ in range(1 + int(rng.random() ** 2 * 4))]
        if rng.random() < nothing:
            windows = []
        clips = sorted({clip for start, end in windows for clip in range(int(start / 2), int(end / 2))})
        row: dict[str, Any] = {"qid": number, "query": f"sentence {number}", "duration": duration, "vid": f"v{number}"}
        row["relevant_windows"] = windows
        if not nothing:
            row["relevant_clip_ids"] = clips
            row["saliency_scores"] = [[int(rng.random() * 5) for _ in range(3)] for _ in clips]
        truth.append(row)
    return truth


def window_answers(rng: Random, truth: list[dict[str, Any]], *, exist: bool = False) -> list[dict[str, Any]]:
    """Some windows near true ones, some anywhere, of equal scores too; too many or too few scores of clips."""
    answers = []
    for row in truth:
        duration, found = row["duration"], []
        for _ in range(1 + int(rng.random() * 12)):
            some = row["relevant_windows"] or [[0.0, 2.0]]
            true = some[int(rng.random() * len(some))]
            made = near(rng, true, duration) if rng.random() < 0.4 else window(rng, duration)
            found.append([*made, round(rng.random(), 1 if rng.random() < 0.3 else 4)])
        found.sort(key=lambda item: -item[2])
        answer = {"qid": row["qid"], "query": row["query"], "vid": row["vid"], "pred_relevant_windows": found}
        clips = int(duration / 2) + int(rng.random() * 3) - 1
        answer["pred_saliency_scores"] = [round(rng.random(), 2) for _ in range(clips)]
        if exist:
            likely = 0.65 if row["relevant_windows"] else 0.35
            answer["pred_exist_score"] = round(min(1.0, max(0.0, likely + rng.random() - 0.5)), 2)
        answers.append(answer)
    return answers


DEGENERATE = ("whole video", "one window repeated", "equal scores", "exact", "forty windows", "not sorted", "no length")


def degenerate_answers(rng: Random, truth: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """What a broken or trivial system answers: one of DEGENERATE."""
    answers = []
    for row in truth:
        duration, clips = row["duration"], int(row["duration"] / 2)
        some = [[*window(rng, duration), round(rng.random(), 3)] for _ in range(40)]
        scores = [round(rng.random(), 1) for _ in range(clips)]
        found, saliency = {
            "whole video": ([[0, duration, 1.0]], [1.0] * clips),
            "one window repeated": ([[10.0, 20.0, 0.5]] * 12, [0.0] * clips),
            "equal scores": ([[start, end, 0.5] for start, end, _ in some[:8]], [0.5] * (clips + 9)),
            "exact": ([[*true, 1.0] for true in row["relevant_windows"]] or [[0, 2, 0.1]], [0.1]),
            "forty windows": (some, scores),
            "not sorted": (some[:10], [-score for score in scores[5:]]),
            "no length": ([[5.0, 5.0, 0.9], some[0]], [0.0] * clips),
        }[kind]
        answer = {"qid": row["qid"], "query": row["query"], "vid": row["vid"]}
        answers.append({**answer, "pred_relevant_windows": found, "pred_saliency_scores": saliency})
    return answers


def tvr_truth(rng: Random, count: int, videos: int) -> list[dict[str, Any]]:
    return [
        {
            "desc_id": 100 + number,
            "desc": f"sentence {number}",
            "vid_name": f"v{int(rng.random() * videos)}",
            "duration": 60.0,
            "ts": [round(time, 2) for time in window(rng, 60.0, 1.5)],
            "type": TYPES[int(rng.random() * 3)],
        }
        for number in range(count)
    ]


def tvr_submission(rng: Random, truth: list[dict[str, Any]], videos: int) -> dict[str, Any]:
    number = {f"v{i}": 19000 + i for i in range(videos)}
    submission: dict[str, Any] = {"video2idx": number, "VCMR": [], "SVMR": [], "VR": []}
    for row in truth:
        own = number[row["vid_name"]]
        for task in ("VCMR", "SVMR", "VR"):
            found: list[list[float]] = []
            for place in range(20 + int(rng.random() * 110)):
                video = own if task == "SVMR" or rng.random() < 0.08 else 19000 + int(rng.random() * videos)
                made = near(rng, row["ts"], 60.0) if rng.random() < 0.3 else window(rng, 60.0)
                found.append([video, *made, round(5 - 0.01 * place, 4)])
            if task == "VR":
                found = list({item[0]: item for item in found}.values())
            submission[task].append({"desc_id": row["desc_id"], "desc": row["desc"], "predictions": found})
    return submission


def complete_ranking(rng: Random, truth: list[dict[str, Any]], videos: int) -> dict[str, Any]:
    """PRVR: every video ranked for every sentence, as a submission with nothing but VR."""
    ranked = []
    for row in truth:
        order = sorted(range(videos), key=lambda _: rng.random())
        found = [[video, 0, 0, round(1 - place / 1000, 4)] for place, video in enumerate(order)]
        ranked.append({"desc_id": row["desc_id"], "desc": row["desc"], "predictions": found})
    return {"video2idx": {f"v{i}": i for i in range(videos)}, "VR": ranked}


def graded_truth(rng: Random, count: int, videos: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        for _ in range(5 + int(rng.random() * 30)):
            moment = {"pair_id": len(rows), "query_id": number, "query": f"sentence {number}", "duration": 60.0}
            moment |= {"video_name": f"v{int(rng.random() * videos)}", "timestamp": window(rng, 60.0, 1.5)}
            moment |= {"caption": "", "similarity": 0.5, "relevance": int(rng.random() * 5)}
            rows.append(moment)
    return rows


def graded_submission(rng: Random, truth: list[dict[str, Any]], videos: int) -> dict[str, Any]:
    by_query: dict[int, list[dict[str, Any]]] = {}
    for row in truth:
        by_query.setdefault(row["query_id"], []).append(row)
    answers = []
    for qid, moments in by_query.items():
        found: list[list[float]] = []
        for place in range(50):
            if rng.random() < 0.5:
                some = moments[int(rng.random() * len(moments))]
                found.append([int(some["video_name"][1:]), *near(rng, some["timestamp"], 60.0), 1 - place / 100])
            else:
                found.append([int(rng.random() * videos), *window(rng, 60.0), 1 - place / 100])
        answers.append({"desc_id": qid, "desc": f"sentence {qid}", "predictions": found})
    return {"video2idx": {f"v{i}": i for i in range(videos)}, "VCMR": answers}
