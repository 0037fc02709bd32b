"""What ``docs/testing.md`` shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"

APPLICATION = """
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from encfields import BlindIndex, EncryptedType

class Base(DeclarativeBase): pass

class Patient(Base):
    __tablename__ = "patient"
    id: Mapped[int] = mapped_column(primary_key=True)
    ssn: Mapped[str] = mapped_column(EncryptedType(String, index=BlindIndex()))
"""


def test_the_examples_pass(pytester: pytest.Pytester) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    conftest, *tests = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (ini,) = re.findall(r"```ini\n(.*?)```", text, re.DOTALL)
    pytester.makeini(f"{ini}asyncio_default_fixture_loop_scope = function")
    pytester.makeconftest(conftest)
    pytester.makepyfile(shop=APPLICATION, test_examples="\n".join(tests))
    pytester.runpytest().assert_outcomes(passed=4)
