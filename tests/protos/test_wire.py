"""Our trimmed messages carry Envoy's field names, numbers and types."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from protos.gen import ext_proc_pb2 as ours

SAME_ON_THE_WIRE = {FieldDescriptor.TYPE_ENUM: FieldDescriptor.TYPE_INT32}


def differences(mine: Descriptor, theirs: Descriptor, seen: set[str]) -> Iterator[str]:
    """Every field of ours that Envoy's message does not have in the same way, down the tree."""
    if mine.full_name in seen:
        return
    seen.add(mine.full_name)
    for field in mine.fields:
        other = theirs.fields_by_number.get(field.number)
        if other is None or other.name != field.name:
            yield f"{mine.full_name}.{field.name}: Envoy has {other and other.name} at {field.number}"
        elif field.is_repeated != other.is_repeated or field.type not in (
            other.type,
            SAME_ON_THE_WIRE.get(other.type),
        ):
            yield f"{mine.full_name}.{field.name}: another type"
        elif field.message_type is not None and not field.message_type.full_name.startswith("google."):
            yield from differences(field.message_type, other.message_type, seen)
        elif field.enum_type is not None:
            numbers = {v.name: v.number for v in other.enum_type.values}
            for value in field.enum_type.values:
                if numbers.get(value.name) != value.number:
                    yield f"{field.enum_type.full_name}.{value.name}: another number"


def test_requests_and_responses_are_wire_compatible_with_envoy() -> None:
    seen: set[str] = set()
    found = [
        *differences(ours.ProcessingRequest.DESCRIPTOR, envoy.ProcessingRequest.DESCRIPTOR, seen),
        *differences(ours.ProcessingResponse.DESCRIPTOR, envoy.ProcessingResponse.DESCRIPTOR, seen),
    ]

    assert found == []
    assert len(seen) > 15
