"""Settings of the service formula_engine."""

from pydantic import Field

from pyat.foundation.settings import Settings


class FormulaSettings(Settings):
    """What evaluating a formula for somebody may cost."""

    formula_time_s: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="How long evaluating one formula for `/api/v1/formulas` may take, in seconds.",
    )
