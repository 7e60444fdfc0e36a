"""The part of a block that says which ion moves."""

from __future__ import annotations

import pymatgen.core as pmg
from pydantic import field_validator

from oracles.base import OracleSettings


class MobileIonSettings(OracleSettings):
    """An oracle that asks how easily one element's ions move."""

    mobile_ion: str = "Li"
    """The element that moves."""

    @field_validator("mobile_ion")
    @classmethod
    def _is_element(cls, symbol: str) -> str:
        if not pmg.Element.is_valid_symbol(symbol):
            raise ValueError(f"{symbol!r} is not the symbol of an element, such as Li")
        return symbol

    @property
    def needed_elements(self) -> tuple[str, ...]:
        return (self.mobile_ion,)
