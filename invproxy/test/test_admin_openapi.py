"""
The description of the admin API is true: schemathesis sends what it allows and what it does not,
and looks at the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from invproxy.http1.fields import items
from invproxy.test.admincase import AdminTestCase

BASE = "http://localhost:8081"

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.negative_data_rejection,
]
"""All that need one answer. What is allowed may be refused all the same, for reasons that a schema cannot say."""

WEB = {"id": "web", "endUser": "allUsers", "backendUser": "", "pathPrefixes": ["/"]}

BODIES = {
    "putBackend": WEB,
    "replaceBackend": {name: WEB[name] for name in WEB if name != "id"},
    "createToken": {"name": "laptop", "expires": None},
}


class DescriptionTests(AdminTestCase):
    """
    C{/api/openapi.json}, and what the API does.
    """

    def setUp(self) -> None:
        super().setUp()
        self.statuses: Counter[int] = Counter()
        document = self.get("/api/openapi.json")
        self.schema: Any = schemathesis.openapi.from_dict(document)
        self.schema.config.update(base_url=BASE)

    def operations(self) -> Iterator[Any]:
        """
        All that can be asked for.
        """
        found = [result.ok() for result in self.schema.get_all_operations()]
        self.assertEqual(len(found), 15)
        return iter(found)

    def send(self, case: Any) -> None:
        """
        Send what was made up, and check the answer.
        """
        sent = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
        body: Any = sent.body or b""
        data = body.encode() if isinstance(body, str) else body
        lines = b"".join(
            b"%b: %b\r\n" % (_bytes(name), _bytes(value))
            for name, value in sent.headers.items()
            if name.lower() not in ("host", "content-length", "transfer-encoding")
        )
        assert sent.method is not None
        call = self.call(sent.method, sent.path_url, data, lines)
        reply = call.reply
        call.client.abort()
        self.network.pump()
        self.statuses[reply.status] += 1
        headers: dict[str, list[str]] = {}
        for name, value in items(reply.fields):
            headers.setdefault(name.decode(), []).append(value.decode("latin-1"))
        response = Response(reply.status, headers, reply.body, sent, 0.1, False)
        case.validate_response(response, checks=CHECKS)

    def explore(
        self, mode: GenerationMode, bodies: Mapping[str, object] | None = None, **fixed: Any
    ) -> None:
        """
        Send some of all that there is.

        @param bodies: bodies that are not to be made up, by the IDs of operations; then no other is sent.
        @param fixed: what else is not to be made up.
        """
        for operation in self.operations():
            if bodies is not None:
                name = operation.definition.raw["operationId"]
                if name not in bodies:
                    continue
                fixed["body"] = bodies[name]
            parameters = fixed.get("path_parameters", {})
            if any(f"{{{name}}}" not in operation.path for name in parameters):
                continue
            free = not parameters and (operation.path_parameters or operation.query)
            if mode == GenerationMode.NEGATIVE and not (operation.body or free):
                continue  # nothing can be wrong
            strategy = operation.as_strategy(generation_mode=mode, **fixed)

            @given(case=strategy)
            @settings(
                max_examples=15,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def sends(case: Any) -> None:
                self.send(case)

            sends()

    def test_allowed(self) -> None:
        """
        What the description allows.
        """
        self.ask("POST", "/api/backends", WEB)
        self.explore(GenerationMode.POSITIVE)
        self.explore(GenerationMode.POSITIVE, path_parameters={"id": "web"})
        self.explore(GenerationMode.POSITIVE, BODIES)
        self.assertTrue({200, 201, 204, 400, 404} <= set(self.statuses), self.statuses)

    def test_forbidden(self) -> None:
        """
        What it does not allow.
        """
        self.ask("POST", "/api/backends", WEB)
        self.explore(GenerationMode.NEGATIVE)
        self.explore(GenerationMode.NEGATIVE, path_parameters={"id": "web"})
        self.assertTrue({400, 404} <= set(self.statuses), self.statuses)

    def test_openMode(self) -> None:
        """
        Without a registry, too.
        """
        self.registry = None
        self.serve(port=8082)
        self.explore(GenerationMode.POSITIVE)
        self.assertEqual(set(self.statuses), {200, 409})

    def test_documents(self) -> None:
        """
        What is answered has no member but those that are described, which schemathesis does not look at.
        """
        self.ask("POST", "/api/backends", WEB)
        self.mailboxes.visit("web")
        assert self.registry is not None
        self.registry.see("web")
        minted = self.ask("POST", "/api/backends/web/tokens", {"name": "laptop"}).json
        self.registry.useToken("web", "laptop")
        document = self.get("/api/openapi.json")
        for name, found in (
            ("Status", self.get("/api/status")),
            ("Exchanges", self.get("/api/exchanges")),
            ("Backend", self.get("/api/backends/web")),
            ("MintedToken", minted),
            ("Token", self.get("/api/backends/web/tokens")[0]),
            ("Problem", self.ask("GET", "/api/backends?limit=x").json),
        ):
            schema = {**document, "$ref": f"#/components/schemas/{name}"}
            jsonschema_rs.Draft202012Validator(schema).validate(found)
            described = document["components"]["schemas"][name]["properties"]
            self.assertEqual(set(found), set(described), name)

    def test_complete(self) -> None:
        """
        It has each path that there is, and no other method than those that are allowed.
        """
        for path, item in self.get("/api/openapi.json")["paths"].items():
            told = self.ask("OPTIONS", path.replace("{id}", "web").replace("{name}", "laptop"))
            methods = {name.upper() for name in item if name != "parameters"}
            allowed = set((told.value(b"allow") or "").split(", ")) - {"HEAD", "OPTIONS"}
            self.assertEqual(methods, allowed, path)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
