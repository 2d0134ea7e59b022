"""The macros of acquisition as SQL text, so that tests can ask them about rows of their own."""

from __future__ import annotations

from typing import Any

import jinja2

from orchestration.refresh import PROJECT_FOLDER


def acquisition_macros() -> Any:
    """The macros, by name, with seeds where a refresh of production puts them."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {"ref": lambda seed: f"staging.{seed}", "return": lambda value: value}
    return environment.from_string((PROJECT_FOLDER / "macros" / "acquisition.sql").read_text()).module
