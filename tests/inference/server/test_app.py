"""The API, over HTTP, on a model that knows three colours."""

import base64
import io
import json
import re
import threading

import numpy as np
import PIL.Image
import pytest

from inference.predictor import Predictor
from inference.server import models

COLOURS = ("red", "green", "blue")
PREDICT = "/v1/models/classifier:predict"


def form(name, content, filename='; filename="a.png"', boundary="xyz"):
    """Body of a form of one part."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def send_form(server, body, boundary="xyz"):
    return server.ask(
        "POST", "/classify", body, Content_Type=f"multipart/form-data; boundary={boundary}"
    )


def base64_of(picture):
    return {"b64": base64.b64encode(picture).decode()}


def predict(server, content, path=PREDICT):
    return server.ask("POST", path, json.dumps(content).encode())


def encoded(format_, size=(16, 12), mode="RGB", colour="red", **options):
    buffer = io.BytesIO()
    PIL.Image.new(mode, size, colour).save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def expected(colour_run, picture):
    """The probabilities of the three pictures, worked out without a server."""
    predictor = models.opened(str(colour_run))
    try:
        return predictor.probabilities([picture(name) for name in COLOURS])
    finally:
        predictor.close()


def test_a_picture_is_classified(server, picture, expected):
    for row, name in zip(expected, COLOURS, strict=True):
        answer = server.classify(picture(name))
        assert answer.status == 200
        found = answer.json()
        order = np.argsort(-row)
        assert found["class"] == name
        assert found["probability"] == found["predictions"][0]["probability"]
        assert [p["label"] for p in found["predictions"]] == order.tolist()
        assert [p["class"] for p in found["predictions"]] == [COLOURS[label] for label in order]
        np.testing.assert_allclose(
            [p["probability"] for p in found["predictions"]], row[order], rtol=1e-6
        )
        assert found["model"] == {"name": "classifier", "version": 60}


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (4, 3), (1000, 3)])
def test_so_many_classes_are_told(server, picture, top_k, count):
    answer = server.ask("POST", f"/classify?top_k={top_k}", picture("green"))
    assert len(answer.json()["predictions"]) == count


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5", ""])
def test_a_bad_number_of_classes_is_refused(server, picture, top_k):
    answer = server.ask("POST", f"/classify?top_k={top_k}", picture("green"))
    assert answer.status == 400
    assert answer.json()["error"] == "This parameter has no valid value: top_k."


def test_a_form_with_a_picture_is_classified(server, picture):
    plain = server.classify(picture("blue")).json()
    assert send_form(server, form("image", picture("blue"))).json() == plain


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_every_format_is_classified(server, format_):
    assert server.classify(encoded(format_)).json()["class"] == "red"


@pytest.mark.parametrize(
    "body",
    [
        form("photo", b"x"),
        form("image", b"x", filename=""),
        form("image", b"x")[:-9] + form("image", b"x"),
        form("image", b"x")[:-9] + form("note", b"x", filename=""),
        form("image", b"x", boundary="abc"),
        b"--xyz\r\n\r\n\r\n--xyz--\r\n",
        b"--xyz",
        b"\x00" * 1000,
        b"",
    ],
    ids=["name", "field", "two", "two kinds", "boundary", "no headers", "cut", "zeros", "empty"],
)
def test_a_form_of_anything_else_is_refused(server, body):
    answer = send_form(server, body)
    assert (answer.status, answer.json()["reason"]) == (400, "bad_request")


def test_a_form_with_a_long_boundary_is_refused(server, picture):
    longest, longer = "b" * 256, "b" * 257
    assert send_form(server, form("image", picture("red"), boundary=longest), longest).status == 200
    assert send_form(server, form("image", picture("red"), boundary=longer), longer).status == 400


def test_forms_that_are_mangled_are_answered_by_an_error(server, picture):
    body = form("image", picture("red"))
    random = np.random.RandomState(0)
    for _ in range(200):
        mangled = bytearray(body)
        for position in random.randint(0, 100, 3):
            mangled[position] = random.randint(0, 256)
        assert send_form(server, bytes(mangled)).status in (200, 400, 415, 422)


def test_what_is_no_image_is_refused(server, png_header):
    files = {
        b"": 415,
        b"<html>": 415,
        b"%PDF-1.7 and more": 415,
        b"\x00\x00\x00\x18ftypheic" + bytes(20): 415,
        encoded("PNG")[:-15]: 422,
        encoded("JPEG")[:200]: 422,
        encoded("GIF")[:20]: 422,
        png_header(16, 12): 422,
    }
    reasons = {415: "not_an_image", 422: "unreadable_image"}
    for data, status in files.items():
        answer = server.classify(data)
        assert (answer.status, answer.json()["reason"]) == (status, reasons[status]), data[:20]


def test_many_bombs_are_refused_by_their_header(server, png_header, picture):
    jpeg = bytearray(encoded("JPEG", (16, 16)))
    size = jpeg.index(b"\xff\xc0") + 5  # height and width stand behind length and precision
    jpeg[size : size + 4] = (12000).to_bytes(2, "big") * 2
    bombs = [bytes(jpeg), png_header(50000, 50000)]
    found = []

    def send(bomb):
        found.append(server.classify(bomb))

    threads = [threading.Thread(target=send, args=[bomb]) for bomb in bombs * 16]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(answer.status, answer.json()["reason"]) for answer in found} == {(413, "too_large")}
    assert any("12000x12000" in answer.json()["error"] for answer in found)
    assert server.classify(picture("red")).status == 200


def test_upload_at_the_limit_is_taken_and_one_byte_more_is_not(run_server, colour_run, picture):
    with run_server(colour_run, "--max_image_mb=0.002") as server:
        exact = picture("red") + bytes(2000 - len(picture("red")))
        assert server.classify(exact).status == 200
        assert send_form(server, form("image", exact)).status == 200
        assert server.classify(exact + b"\0").status == 413
        assert send_form(server, form("image", exact + b"\0")).status == 413
        assert predict(server, {"instances": [base64_of(exact + b"\0")]}).status == 413
        limits = server.ask("GET", "/healthz").json()["limits"]
        assert limits == {"max_image_bytes": 2000, "max_image_pixels": 25_000_000}


def test_pixels_at_the_limit_are_taken_and_one_more_row_is_not(run_server, colour_run):
    with run_server(colour_run, "--max_image_pixels=200") as server:
        assert server.classify(encoded("PNG", (20, 10))).status == 200
        answer = server.classify(encoded("PNG", (20, 11)))
        assert answer.status == 413
        assert answer.json()["error"] == (
            "The image is too large: 20x11 exceeds the limit of 200 pixels."
        )


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/classifier/versions/60:predict"])
def test_row_format(server, picture, expected, path):
    rows = [base64_of(picture("red")), {"image_bytes": base64_of(picture("green"))}]
    content = {"instances": rows, "signature_name": "serving_default"}
    found = predict(server, content, path).json()["predictions"]
    assert [row["class"] for row in found] == ["red", "green"]
    np.testing.assert_allclose([row["probabilities"] for row in found], expected[:2], rtol=1e-6)
    assert [row["probability"] for row in found] == [max(row["probabilities"]) for row in found]


@pytest.mark.parametrize("name_it", [lambda value: value, lambda value: {"image_bytes": value}])
def test_column_format(server, picture, expected, name_it):
    pictures = [base64_of(picture(name)) for name in COLOURS]
    found = predict(server, {"inputs": name_it(pictures)}).json()["outputs"]
    assert found["class"] == list(COLOURS)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-6)
    one = predict(server, {"inputs": name_it(pictures[2])}).json()["outputs"]
    assert one["class"] == ["blue"]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"instances": []},
        {"instances": {}},
        {"instances": None},
        {"instances": ["text"]},
        {"instances": [{"b64": 5}]},
        {"instances": [{"b64": "***"}]},
        {"instances": [{"b64": "", "more": 1}]},
        {"instances": [{"image": {"b64": ""}}]},
        {"instances": [{"b64": ""}], "inputs": [{"b64": ""}]},
        {"instances": [{"b64": ""}], "signature_name": "other"},
        {"inputs": []},
        {"inputs": 5},
        {"inputs": {"image_bytes": []}},
    ],
)
def test_other_json_is_refused(server, content):
    answer = predict(server, content)
    assert (answer.status, answer.json()["reason"]) == (400, "bad_request")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b"NaN"])
def test_what_is_not_json_is_refused(server, body):
    assert server.ask("POST", PREDICT, body).status == 400


def test_more_pictures_than_the_queue_takes_are_refused(server):
    answer = predict(server, {"instances": [{"b64": ""}] * 129})
    assert answer.status == 400
    assert answer.json()["error"] == "A request may hold at most 128 images."


def test_one_bad_picture_fails_its_request(server, picture):
    pictures = [base64_of(picture("red")), base64_of(b"no image")]
    assert predict(server, {"instances": pictures}).status == 415


def test_status_of_the_version(server):
    version = {
        "version": "60",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in ("/v1/models/classifier", "/v1/models/classifier/versions/60"):
        assert server.ask("GET", path).json() == {"model_version_status": [version]}


@pytest.mark.parametrize(
    "path", ["/v1/models/other", "/v1/models/classifier/versions/59", "/v1/models/x/versions/60"]
)
def test_other_models_are_not_found(server, path, picture):
    assert server.ask("GET", path).status == 404
    content = {"instances": [base64_of(picture("red"))]}
    assert predict(server, content, f"{path}:predict").status == 404


def test_health(server):
    assert server.ask("GET", "/healthz").json() == {
        "status": "ok",
        "model": {
            "name": "classifier",
            "version": 60,
            "net": "lenet",
            "image_size": 8,
            "class_names": list(COLOURS),
        },
        "limits": {"max_image_bytes": 10_000_000, "max_image_pixels": 25_000_000},
        "reload_error": None,
    }


def test_metrics_count(run_server, colour_run, picture):
    with run_server(colour_run) as server:
        for _ in range(3):
            server.classify(picture("red"))
        server.classify(b"no image")
        server.ask("GET", "/no/such/path")
        text = server.ask("GET", "/metrics").body.decode()
    assert 'requests_total{route="/classify",status="200"} 3.0' in text
    assert 'requests_total{route="/classify",status="415"} 1.0' in text
    assert 'requests_total{route="other",status="404"} 1.0' in text
    assert 'request_seconds_count{route="/classify"} 4.0' in text
    assert "batch_size_sum 3.0" in text
    assert "queue_length 0.0" in text
    assert "model_version 60.0" in text
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)


def test_the_description_of_the_api_is_complete(server):
    described = server.ask("GET", "/openapi.json").json()
    operations = {
        (method, path) for path, methods in described["paths"].items() for method in methods
    }
    assert operations == {
        ("post", "/classify"),
        ("post", "/v1/models/{name}:predict"),
        ("post", "/v1/models/{name}/versions/{version}:predict"),
        ("get", "/v1/models/{name}"),
        ("get", "/v1/models/{name}/versions/{version}"),
        ("get", "/healthz"),
        ("get", "/metrics"),
    }
    classify = described["paths"]["/classify"]["post"]
    assert set(classify["responses"]) >= {"200", "400", "408", "411", "413", "415", "422", "503"}
    assert "multipart/form-data" in classify["requestBody"]["content"]
    problem = described["components"]["schemas"]["Problem"]
    assert set(problem["properties"]) == {"error", "reason", "request_id"}


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/static/", "/static/app.py", "/favicon.ico"])
def test_there_is_nothing_else(server, path):
    assert server.ask("GET", path).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/classify", "POST"), ("DELETE", "/healthz", "GET"), ("BREW", PREDICT, "POST")],
)
def test_a_wrong_method_is_told_in_json(server, method, path, allowed):
    answer = server.ask(method, path)
    assert (answer.status, answer.json()["reason"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_errors_tell_nothing_about_the_machine(server, png_header, picture):
    failed = [
        server.ask("GET", "/nothing"),
        server.ask("PATCH", "/classify"),
        server.ask("POST", "/classify?top_k=x", b""),
        server.classify(b"text"),
        server.classify(encoded("GIF")[:20]),
        server.classify(encoded("WEBP")[:30]),
        server.classify(encoded("TIFF")[:40]),
        server.classify(png_header(16, 12)),
        server.classify(png_header(50000, 50000)),
        server.ask("POST", PREDICT, b"{"),
        predict(server, {"instances": [base64_of(picture("red"))]}, "/v1/models/x:predict"),
    ]
    ids = set()
    for answer in failed:
        content = answer.json()
        assert set(content) == {"error", "reason", "request_id"}
        assert answer.headers["x-request-id"] == content["request_id"]
        assert re.fullmatch(r"[A-Z][^\n]*\.", content["error"])
        assert not re.search(
            r"\b0x|/|\.py|File|Error|Traceback|site-packages|\d\.\d", content["error"]
        )
        assert "server" not in answer.headers
        ids.add(content["request_id"])
    assert len(ids) == len(failed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_never_sent(run_server, colour_run, picture, value):
    def opened(path):
        predictor = models.opened(path)
        broken = np.full([1, 3], value, np.float32)
        return Predictor(predictor.model, lambda _: broken, predictor.close)

    with run_server(colour_run, opened=opened) as server:
        answer = server.classify(picture("red"))
        assert (answer.status, answer.json()["reason"]) == (500, "bad_output")
        answer = predict(server, {"instances": [base64_of(picture("red"))]})
        assert (answer.status, answer.json()["reason"]) == (500, "bad_output")


def test_a_bug_is_an_error_500_and_the_server_lives(run_server, colour_run, picture):
    def opened(path):
        predictor = models.opened(path)

        def run(_):
            raise RuntimeError("secret of /the/machine")

        return Predictor(predictor.model, run, predictor.close)

    with run_server(colour_run, opened=opened) as server:
        answer = server.classify(picture("red"))
        assert (answer.status, answer.json()["reason"]) == (500, "internal")
        assert b"secret" not in answer.body
        assert server.ask("GET", "/healthz").status == 200


def test_sixty_four_uploads_at_once_are_all_answered_right(server, picture, expected):
    found = {}

    def send(number):
        found[number] = server.classify(picture(COLOURS[number % 3]))

    threads = [threading.Thread(target=send, args=[number]) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(64):
        assert found[number].status == 200
        by_label = sorted(found[number].json()["predictions"], key=lambda p: p["label"])
        np.testing.assert_allclose(
            [p["probability"] for p in by_label], expected[number % 3], rtol=1e-6, atol=1e-7
        )
