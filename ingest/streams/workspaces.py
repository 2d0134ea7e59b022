"""Rows of `raw.workspaces`: versions of a workspace with its subscriptions. Only a pull brings them."""

from typing import Any

from ingest.streams import values as v
from ingest.streams.record import SEPARATOR, Decoded, content_hash, decode_values, refused
from ingest.streams.shape import Shape, merge
from ingest.streams.values import Converter, Refusal, is_absent

SUBSCRIPTIONS = "workspace_subscriptions"
COLUMNS: dict[str, Converter] = {
    "workspace_id": v.identifier,
    "app_id": v.identifier,
    "workspace_name": v.text,
    "plan": v.identifier,
    "subscription_status": v.identifier,
    "created_at": v.timestamp,
    "updated_at": v.timestamp,
}
ALIASES = {
    "workspace_id": ("id",),
    "workspace_name": ("name",),
    "plan": ("plan_type",),
}

shape = Shape("Workspace", (*COLUMNS, "properties"), ALIASES, (SUBSCRIPTIONS,))
ID, APP, PLAN, STATUS = (shape.index[n] for n in ("workspace_id", "app_id", "plan", "subscription_status"))
PROPERTIES, LIST = shape.index["properties"], shape.index[SUBSCRIPTIONS]


class Workspaces:
    """Decoder of the stream. `app` is the app of workspaces that name none."""

    name = "workspaces"
    has_element = False
    columns = ("content_hash", *COLUMNS, "properties")

    def __init__(self, app: str | None = None) -> None:
        self.app = app

    def decode(self, record: bytes) -> Decoded:
        """One version of one workspace."""
        try:
            return Decoded(1, [(0, self.row(*decode_values(shape, record)))])
        except (ValueError, RecursionError) as error:
            return Decoded(1, [], (refused(record, error),))

    def row(self, values: list[Any], unknown: dict[str, Any]) -> str:
        """The columns of one version; the newest subscription's plan and status come before its own."""
        properties: dict[str, Any] = {}
        subscriptions = listed(values[LIST])
        if subscriptions:
            properties[SUBSCRIPTIONS] = subscriptions
            newest = max(subscriptions, key=created)
            take(values, PLAN, newest.get("plan_type"), properties)
            take(values, STATUS, newest.get("status"), properties)
        if not is_absent(values[PROPERTIES]):
            unknown["properties"] = values[PROPERTIES]
        merge(properties, unknown, "record")
        row = [convert(value, name) for (name, convert), value in zip(COLUMNS.items(), values, strict=False)]
        if not row[ID]:
            raise Refusal("is missing", "workspace_id")
        row[APP] = row[APP] or self.app or ""
        content = SEPARATOR.join((*row, v.json(properties)))
        return SEPARATOR.join((content_hash(content), content))


def listed(value: Any) -> list[dict[str, Any]]:
    """Subscriptions as a list; one that stands alone is a list of one."""
    if is_absent(value):
        return []
    subscriptions = value if type(value) is list else [value]
    for subscription in subscriptions:
        if type(subscription) is not dict:
            raise Refusal(f"needs objects, not {v.shown(subscription)}", SUBSCRIPTIONS)
    return subscriptions


def created(subscription: dict[str, Any]) -> str:
    """When a subscription was made, as text in the order of time; those that do not say are oldest."""
    return v.timestamp(subscription.get("created_at"), f"{SUBSCRIPTIONS}.created_at")


def take(values: list[Any], place: int, told: Any, properties: dict[str, Any]) -> None:
    """Puts what a subscription tells into a column; another value of the workspace's own is kept."""
    if is_absent(told):
        return
    own = values[place]
    if not is_absent(own) and own != told:
        properties[f"workspace.{shape.columns[place]}"] = own
    values[place] = told
