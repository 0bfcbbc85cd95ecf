"""The schemas of what calls take, for the OpenAPI document: as msgspec reads them.

Litestar's own say nothing of unknown fields, which are refused, nor of what a list or a map may hold.
"""

from typing import TYPE_CHECKING, Any

import msgspec
from litestar.openapi.spec import Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from gateway.web.admin.asked import Body

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

ALIASES = {"not": "schema_not", "if": "schema_if", "else": "schema_else"}
ONE_SCHEMA = {"items", "additional_properties", "property_names", "schema_not"}
MANY_SCHEMAS = {"any_of", "one_of", "all_of"}


class BodySchemas(OpenAPISchemaPlugin):
    """Describes each Body; what a type says of itself beyond its fields is its SCHEMA."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether this is one."""
        return not field_definition.is_union and field_definition.is_subclass_of(Body)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Its schema, a component of the document."""
        kind: type[Body] = field_definition.annotation
        _, components = msgspec.json.schema_components([kind], ref_template="{name}")
        described = build_schema({**components[kind.__name__], **kind.SCHEMA}, components)
        schema = schema_creator.schema_registry.get_schema_for_field_definition(field_definition)
        for name in described.__dataclass_fields__:
            setattr(schema, name, getattr(described, name))
        return schema


def build_schema(described: dict[str, Any], components: dict[str, Any]) -> Schema:
    """Return a JSON Schema as Litestar has it; components that it refers to are put in the place of the references."""
    if "$ref" in described:
        described = components[described["$ref"]]
    if described.get("multipleOf") == 1:  # a whole number, which may be written 60.0
        described = {**described, "type": "integer"}
    values: dict[str, Any] = {}
    for key, value in described.items():
        name = ALIASES.get(key) or "".join(f"_{one.lower()}" if one.isupper() else one for one in key)
        if name == "properties":
            values[name] = {field: build_schema(one, components) for field, one in value.items()}
        elif name in MANY_SCHEMAS:
            values[name] = [build_schema(one, components) for one in value]
        elif name in ONE_SCHEMA and isinstance(value, dict):
            values[name] = build_schema(value, components)
        else:
            values[name] = value
    return Schema(**values)
