"""Record: the base of whatever is written as JSON and read again."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen tree of data with a schema; what it does not know, it refuses."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )
