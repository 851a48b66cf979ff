"""The pictures of an evaluation are those of this evaluation."""

from wsl.boxes import Boxes
from wsl.metrics import Evaluation
from wsl.results import EvaluationReport, Localization
from wsl.samples import Sample
from wsl.verbs.plots import PICTURES, Plots

DOG = Boxes(xyxy=[[0, 0, 8, 8]], labels=["dog"])


def test_pictures_of_an_earlier_evaluation_are_removed_and_other_files_kept(tmp_path):
    for name in (*PICTURES, "mine"):
        (tmp_path / f"{name}.png").write_bytes(b"old")
    plots = Plots(tmp_path)
    found = Localization(path="a.jpg", size=(9, 9), scores={"dog": 0.9}, boxes=DOG)
    plots.update(found, Sample(path="a.jpg", labels=["dog"], boxes=DOG))
    written = plots.save(Evaluation(["dog"], metrics=["CorLoc"]), EvaluationReport(metrics=(), images=1, source="x"))
    new = {path.stem for path in written if path.read_bytes() != b"old"}
    assert {path.stem for path in written} == {*new, "mine"}
    assert {"overlaps", "accuracy_over_size"} <= new <= set(PICTURES)


def test_a_wrong_class_is_the_one_of_the_highest_score_whatever_the_order(tmp_path):
    plots = Plots(tmp_path)
    found = Localization(path="a.jpg", size=(9, 9), scores={"dog": 0.1, "emu": 0.2, "cat": 0.9}, boxes=DOG)
    plots.update(found, Sample(path="a.jpg", labels=["dog"], boxes=DOG))
    [(_, _, kept, _, _)] = plots._worst["wrong class"]
    assert list(kept.scores) == ["cat"]
