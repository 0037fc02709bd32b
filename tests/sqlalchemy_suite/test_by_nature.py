"""A change of what SQLAlchemy's suite comes to is only excused as far as it has a reason."""

from __future__ import annotations

from tests.sqlalchemy_suite.__main__ import _unexplained
from tests.sqlalchemy_suite.run import Outcome

_SIGNATURES = "test/dialect/test_suite.py::ArgSignatureTest::test_all_visit_methods_accept_kw"


def _outcomes(**names: str) -> dict[str, Outcome]:
    return {f"{_SIGNATURES}[{compiler}]": Outcome(name) for compiler, name in names.items()}


def test_an_attached_engines_compiler_class_is_one_more_case_of_a_test_and_no_change() -> None:
    plain = _outcomes(SQLiteCompiler="passed")
    attached = _outcomes(SQLiteCompiler0="passed", SQLiteCompiler1="passed")
    assert not _unexplained(plain, attached)


def test_an_attached_engines_compiler_class_that_fails_the_test_is_a_change() -> None:
    plain = _outcomes(SQLiteCompiler="passed")
    attached = _outcomes(SQLiteCompiler0="passed", SQLiteCompiler1="failed")
    assert _unexplained(plain, attached) == {f"{_SIGNATURES}[SQLiteCompiler1]"}


def test_a_test_that_nothing_is_known_of_is_a_change() -> None:
    test = "test/sql/test_returning.py::ReturnCombinationTests::test_no_text"
    assert _unexplained({test: Outcome("passed")}, {test: Outcome("failed")}) == {test}
