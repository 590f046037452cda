"""What a client is told when its request fails: a status, a reason for programs, one sentence."""

import json
from collections.abc import Sequence

from starlette.responses import Response

STATUS = {
    "bad_request": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "length_required": 411,
    "too_large": 413,
    "uri_too_long": 414,
    "not_an_image": 415,
    "unreadable_image": 422,
    "headers_too_large": 431,
    "bad_output": 500,
    "internal": 500,
    "busy": 503,
    "stopping": 503,
    "unsupported_http_version": 505,
}
RETRY_SECONDS = 1  # after a 503

Headers = Sequence[tuple[str, str]]


class RequestError(Exception):
    """A request that is refused, or that failed.

    Args:
        reason: a key of STATUS, on which programs can rely.
        sentence: for people; without paths, versions and the like.
        headers: what the answer has beside the usual ones.
    """

    def __init__(self, reason: str, sentence: str, headers: Headers = ()) -> None:
        super().__init__(sentence)
        self.reason, self.sentence, self.headers = reason, sentence, headers
        self.status = STATUS[reason]


class BusyError(RequestError):
    """There is no room for the request now; it may be sent again."""

    def __init__(self, sentence: str) -> None:
        super().__init__("busy", sentence)


class UnreadableImageError(RequestError):
    """An image that is damaged, or that its decoder does not survive."""

    def __init__(self, sentence: str) -> None:
        super().__init__("unreadable_image", sentence)


def answer(error: RequestError, request_id: str) -> Response:
    """The answer to a request that ended with an error."""
    content = {"error": error.sentence, "reason": error.reason, "request_id": request_id}
    headers = dict(error.headers)
    if error.status == STATUS["busy"]:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Response(json.dumps(content), error.status, headers, "application/json")
