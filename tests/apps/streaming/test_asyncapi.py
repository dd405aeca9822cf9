import json

from jsonschema import Draft202012Validator

from apps.streaming.asyncapi import document
from apps.streaming.registry import streams
from realtime.close import CLOSE_CODES


def test_the_document_names_every_stream_message_and_command(client):
    served = json.loads(client.get("/asyncapi.json").content)
    assert served["asyncapi"] == "3.0.0"
    assert len(served["channels"]) == 14
    addresses = {channel["address"] for channel in served["channels"].values()}
    assert "/ws/ai-studio/training/{job_id}/" in addresses
    assert "/ws/trading/risk-alerts/" in addresses
    for stream in streams():
        names = set(served["channels"][stream.name.replace(".", "_").replace("-", "_")]["messages"])
        assert {m.__name__ for m in (*stream.messages, *stream.commands)} < names


def test_every_reference_resolves_and_every_schema_is_valid():
    text = json.dumps(document())

    def resolve(pointer):
        node = document()
        for part in pointer.removeprefix("#/").split("/"):
            node = node[part]
        return node

    import re

    for pointer in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        assert resolve(pointer)
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_close_codes_are_in_it():
    assert [entry["code"] for entry in document()["x-close-codes"]] == [close.code for close in CLOSE_CODES]
