"""What every body of a request is made from: numbers in it are finite, since nothing that is kept could tell others."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """The body of a request; a number that is infinite or none is refused with the name of its field."""

    model_config = ConfigDict(allow_inf_nan=False)
