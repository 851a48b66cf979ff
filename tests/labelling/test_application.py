"""The backend as Label Studio talks to it."""

import json
import logging
import urllib.parse

import numpy as np
import pytest
from PIL import Image

import wsl
from wsl.cli import label_studio
from wsl.config import PickConfig
from wsl.formats.exchange.label_studio import read_label_studio
from wsl.labelling.answers import Annotator

testclient = pytest.importorskip("starlette.testclient")
pytest.importorskip("httpx")

INTERFACE = (
    '<View><Image name="img" value="$photo"/><RectangleLabels name="box" toName="img"><Label value="DOG"/>'
    '<Label value="emu"/><Label value="gnu"/></RectangleLabels></View>'
)


@pytest.fixture(scope="module")
def predictor():
    model = wsl.Localizer("tinynet", classes=["cat", "dog", "emu"], weights="none")
    return wsl.Predictor(model, device="cpu", precision="fp32")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "a b").mkdir(parents=True)
    for name, side in (("a b/ä.png", (90, 60)), ("b.png", (40, 40))):
        pixels = np.random.default_rng(0).integers(0, 255, (side[1], side[0], 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (tmp_path / "secret.png").write_bytes((folder / "b.png").read_bytes())
    return folder


@pytest.fixture
def client(predictor, photos):
    from wsl.labelling.application import application

    return testclient.TestClient(
        application(Annotator(predictor, photos, "mine 1"), ["testserver"]), raise_server_exceptions=False
    )


def task(name):
    return {"id": 1, "data": {"photo": "/data/local-files/?d=" + urllib.parse.quote(name)}}


def predicted(client, *tasks, interface=INTERFACE):
    asked = {"tasks": list(tasks), "project": "1.2", "label_config": interface, "params": {"context": None}}
    return client.post("/predict", json=asked)


def test_boxes_are_the_predictors_in_percent_and_under_the_projects_names(client, predictor, photos, tmp_path):
    (answer,) = predicted(client, task("a b/ä.png")).json()["results"]
    found = predictor(wsl.Source(photos / "a b/ä.png", classes=["dog", "emu"]))
    best = max(("dog", "emu"), key=lambda name: found.scores[name])
    expected = found.boxes.select([label == best for label in found.boxes.labels])
    assert answer["model_version"] == "mine 1"
    assert {(one["from_name"], one["to_name"], one["type"]) for one in answer["result"]} == {
        ("box", "img", "rectanglelabels")
    }
    # Back by the reader of exports.
    tasks = [{"data": {"image": "ä.png"}, "predictions": [answer]}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    (read,) = read_label_studio(tmp_path / "tasks.json", predictions=True)
    np.testing.assert_allclose(read.boxes.xyxy, expected.xyxy, atol=1e-3)
    np.testing.assert_allclose(read.boxes.scores, expected.scores, atol=1e-6)
    assert set(read.boxes.labels) == {{"dog": "DOG", "emu": "emu"}[best]}


def test_tasks_of_an_export_name_their_images_below_the_root(client, caplog):
    exported = {**task("photos/a b/ä.png"), "meta": {"name": "a b/ä.png"}}  # as wsl-export writes them
    (answer,) = predicted(client, exported).json()["results"]
    assert answer["result"]
    assert "no prediction" not in caplog.text


@pytest.mark.parametrize(
    ("pick", "labels"),
    [
        (PickConfig(top_k=None), {"DOG", "emu"}),
        (PickConfig(top_k=None, score_threshold=1.0), set()),
        (PickConfig(classes=("emu",)), {"emu"}),
    ],
)
def test_classes_are_picked_among_those_that_the_project_asks_for(predictor, photos, pick, labels):
    (answer,) = Annotator(predictor, photos, "mine", pick=pick).answer([task("b.png")], INTERFACE)
    assert {label for one in answer["result"] for label in one["value"]["rectanglelabels"]} == labels


def test_choices_are_the_classes_of_the_image(predictor, photos):
    choices = '<Choices name="what" toName="img"><Choice value="emu" alias="bird"/><Choice value="cat"/></Choices>'
    interface = f'<View><Image name="img" value="$photo"/>{choices}</View>'
    annotator = Annotator(predictor, photos, "mine", pick=PickConfig(top_k=None))
    (answer,) = annotator.answer([task("b.png")], interface)
    (result,) = answer["result"]
    assert (result["type"], result["from_name"]) == ("choices", "what")
    assert sorted(result["value"]["choices"]) == ["bird", "cat"]


def test_each_task_has_an_answer_whatever_becomes_of_its_image(client, photos, caplog):
    (photos / "text.png").write_text("no picture", encoding="utf-8")
    names = ["b.png", "gone.png", "../secret.png", "text.png", "a b/ä.png", "long" * 500]
    with caplog.at_level(logging.WARNING, "wsl"):
        answers = predicted(client, *map(task, names)).json()["results"]
    assert [bool(answer["result"]) for answer in answers] == [True, False, False, False, True, False]
    told = [record.message for record in caplog.records]
    assert any("names '../secret.png', which is not inside" in line for line in told)
    assert any("gone.png: no such image; --image-root" in line for line in told)


def test_health_setup_and_versions_are_as_label_studio_expects(client):
    assert client.get("/health").json()["status"] == "UP"
    assert client.get("/versions").json() == {"versions": ["mine 1"]}
    for schema in ("<View></View>", INTERFACE, ""):
        answer = client.post("/setup", json={"project": "1.2", "schema": schema, "hostname": "http://x"})
        assert (answer.status_code, answer.json()) == (200, {"model_version": "mine 1"})
    assert client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the request: not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"tasks": 3}', "the request has no tasks or no label_config"),
        (b'{"tasks": [3], "label_config": "<View/>"}', "neither RectangleLabels nor Choices"),
        (json.dumps({"tasks": [{}], "label_config": INTERFACE}).encode(), "a task has no data.photo"),
        (json.dumps({"tasks": [{}] * 1001, "label_config": INTERFACE}).encode(), "1001 tasks at once"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (33 << 20), "the request has more than"),
    ],
)
def test_what_is_no_request_is_told_in_one_line(client, body, message):
    answer = client.post("/predict", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_it_answers_to_no_other_name(client):
    assert client.get("/health", headers={"host": "example.org"}).status_code == 400


def test_a_wrong_folder_is_told_before_anything_is_loaded(tmp_path, capsys):
    assert label_studio(["--weights", "resnet50", "--image-root", str(tmp_path / "none")]) == 2
    assert "no such folder; expected the folder with the project's images" in capsys.readouterr().err
