from goldilocks.core import progress


def test_without_a_terminal_a_line_tells_the_share_done_and_the_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress("over at once", 2, "draw") as shown:
        shown.add(2)
    with progress.Progress("sweep", 1000, "draw", done=200) as shown:
        for _ in range(8):
            now[0] += 6.0
            shown.add(100, "σ 7.07")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "sweep: 40% of 1,000 draws, σ 7.07, 36 s left",
        "sweep: 60% of 1,000 draws, σ 7.07, 24 s left",
        "sweep: 80% of 1,000 draws, σ 7.07, 12 s left",
        "sweep: 100% of 1,000 draws, σ 7.07, 0 s left",
    ]
